"""Summarises a study of several sets, tasks or models in a paragraph: comparisons, outcomes and uncertainty.

Differences and intervals are over sets, since models and tasks on the rows of one set are not independent.
"""

import statistics
from collections.abc import Iterable, Sequence

from ia2.analysis.verdicts import LEAST_PAIRS
from ia2.reports.aggregate import Result, Select, deviation
from ia2.reports.comparisons import COMPARED, Comparison, compared
from ia2.reports.method_names import METHOD_NAMES, method_order

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
FULLY_COMPARED = 2
"""Maximum number of settings (adapter, labels, N) described one by one; with more, outcomes are counted."""


def summary(cells: Sequence[Result], select: Select) -> str | None:
    """Return the summary paragraph, with the same numbers as the tables.

    It compares IA2→SFT with SFT. If either is missing, it compares the most accurate method with the runner-up.

    Args:
        cells: the study's results, at the best learning rate of each method.
        select: how the learning rates and β were chosen.

    Returns:
        The sentences; None if nothing was measured.
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
    if len(groups) <= FULLY_COMPARED:
        sentences = [_comparison_sentence(comparisons, group, first, second, named=len(groups) > 1) for group in groups]
    else:
        sentences = [_counted(comparisons, measure, first, second) for measure in ("accuracy", "ece")]
    cautions = [
        *[f"These two methods were selected for being the most accurate, which favours {first}."] * (pair != COMPARED),
        *["Learning rates were selected by accuracy on the evaluation rows, which favours every trained method."]
        * (select != "dev" and any(cell.lr is not None for cell in measured)),
    ]
    return " ".join(filter(None, (_studied(measured), *sentences, *cautions)))


def _compared_methods(cells: Sequence[Result]) -> tuple[str, str] | None:
    """Return the two methods to compare; None if there is only one."""
    methods = sorted({cell.method for cell in cells}, key=method_order)
    if set(COMPARED) <= set(methods):
        return COMPARED
    if len(methods) < 2:
        return None
    settings = {method: {cell.setting for cell in cells if cell.method == method} for method in methods}
    # means over different settings can't be compared; if no setting has all methods, all settings count
    shared = set.intersection(*settings.values()) or set.union(*settings.values())

    def accuracy(method: str) -> float:
        values = [statistics.fmean(cell.accuracy) for cell in cells if cell.method == method and cell.setting in shared]
        return statistics.fmean(values)

    best, runner_up, *_ = sorted(methods, key=accuracy, reverse=True)
    return best, runner_up


def _studied(cells: Sequence[Result]) -> str:
    """Return a sentence on the compared methods, models and tasks."""
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
    """Return a sentence on the accuracy of the only method."""
    averages = sorted(100 * statistics.fmean(cell.accuracy) for cell in cells)
    if len(cells) > 1:
        return (
            f"Its accuracy, averaged over sets, ranges from {averages[0]:.1f} to {averages[-1]:.1f} % across settings."
        )
    spread = f" (standard deviation {100 * deviation(cells[0].accuracy):.1f})" * (len(cells[0].accuracy) > 1)
    return f"Its accuracy is {averages[0]:.1f} %{spread}."


def _group(row: Comparison) -> tuple[str, str, str, int]:
    return row.adapter, row.label_source, row.responses, row.n


def _comparison_sentence(
    comparisons: Sequence[Comparison], group: tuple[str, str, str, int], first: str, second: str, named: bool
) -> str:
    """Return sentences on the difference in accuracy and ECE for one adapter, label source and N."""
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
    """Return the parts of the setting that distinguish a comparison from the others."""
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
    """Return in how many pairs the first method is better."""
    better = sum(row.advantages)
    if row.test.pairs == 1:
        return "the only pair" if better else "0 of 1 pairs"
    models = {setting.model for setting in row.settings}
    tasks = {(setting.source, setting.eval) for setting in row.settings}
    parts = [*["model"] * (len(models) > 1), *["task"] * (len(tasks) > 1), "set"]
    pairs = f"({', '.join(parts)}) pairs" if len(parts) > 1 else "sets"
    return f"{better} of {row.test.pairs} {pairs}"


def _outcome(row: Comparison) -> int:
    """Return 1 if the first method is better, -1 if the second is, 0 if inconclusive."""
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
    """Return in how many comparisons of a measure each method is better; empty without comparisons."""
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
    """Join names with commas, and "and" before the last."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
