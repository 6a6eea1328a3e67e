"""What a study of several sets, tasks or models came to, in a paragraph: what was compared, what came out, how sure.

Differences and intervals are over sets, since models and tasks on the rows of one set are not independent.
"""

import statistics
from collections.abc import Iterable, Sequence

from ia2.analysis.verdicts import LEAST_PAIRS
from ia2.reports.aggregate import Result, Select, deviation
from ia2.reports.comparisons import COMPARED, Comparison, compared
from ia2.reports.method_names import METHOD_NAMES, method_order

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
FULLY_TOLD = 2
"""Settings (adapter, labels, N) whose comparison has sentences of its own; of more the outcomes are counted."""


def summary(cells: Sequence[Result], select: Select) -> str | None:
    """The paragraph, whose numbers are those of the tables.

    IA2→SFT is compared with SFT; where one of the two is lacking, the most accurate method with the runner-up.

    Args:
        cells: what was measured, at the best learning rate of each method.
        select: how the learning rates and β were chosen.

    Returns:
        The sentences; None where nothing was measured.
    """
    measured = [cell for cell in cells if cell.accuracy]
    if not measured:
        return None
    pair = _compared_methods(measured)
    if pair is None:
        return f"{_studied(measured)} {_alone(measured)}"
    comparisons = compared(measured, methods=pair)
    first, second = (METHOD_NAMES.get(method, method) for method in pair)
    if not comparisons:
        return f"{_studied(measured)} No set was evaluated with both {first} and {second}, so they can't be compared."
    groups = list(dict.fromkeys(_group(row) for row in comparisons))
    if len(groups) <= FULLY_TOLD:
        told = [_told(comparisons, group, first, second, named=len(groups) > 1) for group in groups]
    else:
        told = [_counted(comparisons, measure, first, second) for measure in ("accuracy", "ece")]
    cautions = [
        *[f"These two methods were selected for being the most accurate, which favours {first}."] * (pair != COMPARED),
        *["Learning rates were selected by accuracy on the evaluation rows, which favours every trained method."]
        * (select != "dev" and any(cell.lr is not None for cell in measured)),
    ]
    return " ".join(filter(None, (_studied(measured), *told, *cautions)))


def _compared_methods(cells: Sequence[Result]) -> tuple[str, str] | None:
    """The two methods that a study is about; None where there is one alone."""
    methods = sorted({cell.method for cell in cells}, key=method_order)
    if set(COMPARED) <= set(methods):
        return COMPARED
    if len(methods) < 2:
        return None
    settings = {method: {cell.setting for cell in cells if cell.method == method} for method in methods}
    # means over other settings can't be compared, so that where no setting has all methods every one counts
    shared = set.intersection(*settings.values()) or set.union(*settings.values())

    def accuracy(method: str) -> float:
        values = [statistics.fmean(cell.accuracy) for cell in cells if cell.method == method and cell.setting in shared]
        return statistics.fmean(values)

    best, runner_up, *_ = sorted(methods, key=accuracy, reverse=True)
    return best, runner_up


def _studied(cells: Sequence[Result]) -> str:
    """Which methods were compared on what."""
    methods = sorted({cell.method for cell in cells}, key=method_order)
    names = [METHOD_NAMES.get(method, method) for method in methods]
    tasks = dict.fromkeys(cell.setting.eval for cell in cells)
    models = dict.fromkeys(cell.setting.model for cell in cells)
    sizes = sorted({cell.setting.n for cell in cells})
    sets = max(len({record.seed for record in cell.records}) for cell in cells)
    verb = "compared" if len(names) > 1 else "measured"
    return (
        f"This study {verb} {_listed(names)} on {_listed(tasks)} with {_listed(models)}, "
        f"N = {_listed(map(str, sizes))}, over {_count(sets)} set{'s' * (sets > 1)} of demonstrations."
    )


def _alone(cells: Sequence[Result]) -> str:
    """The accuracy of the only method."""
    averages = sorted(100 * statistics.fmean(cell.accuracy) for cell in cells)
    if len(cells) > 1:
        return (
            f"Its accuracy, averaged over sets, ranges from {averages[0]:.1f} to {averages[-1]:.1f} % across settings."
        )
    spread = f" (standard deviation {100 * deviation(cells[0].accuracy):.1f})" * (len(cells[0].accuracy) > 1)
    return f"Its accuracy is {averages[0]:.1f} %{spread}."


def _group(row: Comparison) -> tuple[str, str, str, int]:
    return row.adapter, row.label_source, row.responses, row.n


def _told(
    comparisons: Sequence[Comparison], group: tuple[str, str, str, int], first: str, second: str, named: bool
) -> str:
    """The difference in accuracy and ECE of one adapter, label source and N, and how sure it is."""
    rows = {row.measure: row for row in comparisons if _group(row) == group}
    accuracy = rows["accuracy"]
    where = f"{_setting_in_words(comparisons, accuracy)}: " * named
    sentences = [
        f"{where}{first}'s accuracy is {_distance(accuracy, 'points')} {second}'s{_interval(accuracy, 1)}, "
        f"and higher in {_share(accuracy)}: {_verdict(accuracy, first, second, 'more accurate')}."
    ]
    if "ece" in rows:
        ece = rows["ece"]
        sentences.append(
            f"Its ECE is {_distance(ece, '')} {second}'s{_interval(ece, 3)}, and lower in {_share(ece)}: "
            f"{_verdict(ece, first, second, 'better calibrated')}."
        )
    return " ".join(sentences)


def _setting_in_words(comparisons: Sequence[Comparison], row: Comparison) -> str:
    """What tells a comparison from the others."""
    parts = {"adapter": row.adapter, "label_source": f"{row.label_source} labels", "responses": row.responses}
    differing = [text for part, text in parts.items() if len({getattr(other, part) for other in comparisons}) > 1]
    return ", ".join((*differing, f"N = {row.n}"))


def _distance(row: Comparison, unit: str) -> str:
    digits = 1 if row.measure == "accuracy" else 3
    size = f"{abs(row.by_set.difference):.{digits}f}"
    if float(size) == 0:
        return "no different from"
    return f"{size}{f' {unit}' * bool(unit)} {'above' if row.by_set.difference > 0 else 'below'}"


def _interval(row: Comparison, digits: int) -> str:
    if row.by_set.interval is None:
        return ""
    low, high = row.by_set.interval
    return f" (95 % CI {low:+.{digits}f} to {high:+.{digits}f})"


def _share(row: Comparison) -> str:
    """In how many pairs the first method is the better one."""
    better = sum(row.advantages)
    if row.test.pairs == 1:
        return "the only pair" if better else "0 of 1 pairs"
    models = {setting.model for setting in row.settings}
    tasks = {(setting.source, setting.eval) for setting in row.settings}
    parts = [*["model"] * (len(models) > 1), *["task"] * (len(tasks) > 1), "set"]
    pairs = f"({', '.join(parts)}) pairs" if len(parts) > 1 else "sets"
    return f"{better} of {row.test.pairs} {pairs}"


def _outcome(row: Comparison) -> int:
    """1 where the first method is better, -1 where the second is, 0 where that is inconclusive."""
    return {"holds": 1, "doesn't hold": -1}.get(row.better, 0)


def _verdict(row: Comparison, first: str, second: str, better: str) -> str:
    sets = f"{_count(row.by_set.pairs)} set{'s' * (row.by_set.pairs > 1)}"
    if row.by_set.pairs < LEAST_PAIRS:
        return f"{sets} {'are' if row.by_set.pairs > 1 else 'is'} too few to tell which is {better}"
    if outcome := _outcome(row):
        return f"over {sets}, {first if outcome > 0 else second} is significantly {better}"
    if row.by_set.interval is None:
        return f"all sets differ alike, so there is no interval to tell which is {better}"
    return f"over {sets}, neither is significantly {better}"


def _counted(comparisons: Sequence[Comparison], measure: str, first: str, second: str) -> str:
    """In how many comparisons each method is better in a measure; empty where none is of it."""
    rows = [row for row in comparisons if row.measure == measure]
    if not rows:
        return ""
    better = "more accurate" if measure == "accuracy" else "better calibrated"
    digits = 1 if measure == "accuracy" else 3
    differences = sorted(row.by_set.difference for row in rows)
    outcomes = [_outcome(row) for row in rows]
    of_what = " (one per N, adapter and kind of label)" if measure == "accuracy" else ""
    name, unit = ("accuracy", " points") if measure == "accuracy" else ("ECE", "")
    return (
        f"{first} is significantly {better} than {second} in {outcomes.count(1)} of {len(rows)} comparisons{of_what}, "
        f"{second} in {outcomes.count(-1)}, and {outcomes.count(0)} are inconclusive; the difference in {name} ranges "
        f"from {differences[0]:+.{digits}f} to {differences[-1]:+.{digits}f}{unit}."
    )


def _count(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def _listed(names: Iterable[str]) -> str:
    """Names with commas, and "and" before the last."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
