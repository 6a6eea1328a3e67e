"""Sentences on how to read a study's tables: what they contain, and how the numbers were made."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ia2.reports.aggregate import Result, Select, differing
from ia2.reports.best import BEST_ACCURACY, BEST_ECE
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.paper import Paper
from ia2.reports.study import StudyTable, eval_name

NAMED = 3
"""Maximum number of cells that a sentence lists by name."""


def explained(
    cells: Sequence[Result],
    select: Select,
    tables: Sequence[StudyTable],
    paper: Paper | None,
    planned: int | None = None,
    *,
    each_set: bool = False,
) -> list[str]:
    """Return sentences on how to read the tables.

    Args:
        cells: the study's results.
        select: how the best learning rate and β were chosen.
        tables: the tables of these results.
        paper: the paper's numbers, if the tables show them.
        planned: the study's number of sets, if numbers over fewer sets are marked.
        each_set: whether learning rate and β were chosen for each set separately.
    """
    if not cells:
        return ["Nothing was measured."]
    counts = sorted({len(cell.records) for cell in cells})
    sets = f"{counts[0]} to {counts[-1]} sets" if counts[0] < counts[-1] else f"{counts[0]} sets"
    divisor = "n - 1" if paper is None else "n, as in the paper"
    measured = (
        f"Mean (standard deviation with divisor {divisor}) over {sets}"
        if counts[-1] > 1
        else "One set, so there is no standard deviation"
    )
    chosen = {
        "accuracy": "the highest mean accuracy on the source task's evaluation set",
        "evaluated": "the highest mean accuracy on the evaluated task itself, as in the paper",
        "dev": "the lowest mean dev loss, without using the evaluation set",
    }[select]
    sentences = [
        f"{measured}; accuracy is in percent.",
        "In each set, learning rate and β are those with the lowest dev loss."
        if each_set
        else f"For each method, learning rate and β are those with {chosen}.",
        BEST_ACCURACY,
        *[BEST_ECE] * any(cell.ece for cell in cells),
    ]
    if planned is not None and counts[0] < planned:
        sentences.append(
            f"Numbers marked {counts[0]}/{planned} are over {counts[0]} of the study's {planned} sets, and so on; bold "
            "marks the best of the numbers that are over the most sets in a setting."
        )
    if any(cell.setting.out_of_distribution for cell in cells):
        sentences.append("* marks tasks that were not trained on.")
    metrics = [record.metrics for cell in cells for record in cell.records]
    binnings = sorted({values.ece_binning for values in metrics if values.ece_binning})
    if binnings:
        sentences.append(f"ECE uses 15 {' or '.join(binnings)} bins.")
    sentences += [*_rows(cells), *_differing(cells), *_as_the_scripts(cells)]
    return sentences if paper is None else [*sentences, _beside_the_paper(tables)]


def _beside_the_paper(tables: Sequence[StudyTable]) -> str:
    """Return a sentence on how many numbers are shown next to the paper's."""
    entries = [entry for table in tables for line in table.lines for entry in line.entries]
    in_paper = sum(entry.paper is not None for entry in entries)
    if not in_paper:
        return "The paper has none of these settings, so none of its numbers are shown."
    return (
        f"{in_paper} of {len(entries)} numbers have the paper's mean (standard deviation) beside them, followed by the "
        "difference, ours minus the paper's. The paper's ECE uses equal-mass bins."
    )


def _as_the_scripts(cells: Sequence[Result]) -> list[str]:
    """Return sentences on the settings that follow the published scripts instead of PROTOCOL."""
    options = [record.options for cell in cells for record in cell.records]
    ways = {
        ("confidence", "top-10"): "Confidence is divided by the total probability of the ten likeliest tokens.",
        ("correct", "stripped"): "An answer is correct if it differs from the label only in surrounding spaces.",
        ("demonstrations", "reshuffled"): "In-context demonstrations are reordered for each query.",
        ("demonstrations", "resampled"): "In-context demonstrations are N - 1 rows, drawn anew for each query.",
        ("evaluate", "merged"): "Adapters are merged into the model's weights, which are rounded to their dtype.",
        ("evaluate", "merged-bfloat16"): "Adapters are merged into the model's weights, which are rounded to bfloat16.",
        ("asim_tokens", "greedy"): "For free text, asim compares the tokens that each method generates itself, up to "
        "the length of the shorter text.",
        ("teacher_stop", "none"): "The teacher's texts do not stop at a blank line.",
    }
    sentences = [
        sentence
        for (name, way), sentence in ways.items()
        if any(record_options.get(name) == way for record_options in options)
    ]
    changed = {
        f"{name}: {value}"
        for record_options in options
        for name, value in (record_options.get("benchmark_options") or {}).items()
    }
    return sentences + [f"Task options: {', '.join(sorted(changed))}."] * bool(changed)


def _rows(cells: Iterable[Result]) -> list[str]:
    """Return sentences on the number of evaluated rows of each task."""
    rows_of: dict[str, set[int]] = defaultdict(set)
    for cell in cells:
        rows_of[cell.setting.eval] |= {record.metrics.n for record in cell.records if record.metrics.n is not None}
    counts = {
        task: " to ".join(map(str, sorted({min(rows), max(rows)}))) for task, rows in sorted(rows_of.items()) if rows
    }
    return [f"Evaluation rows: {', '.join(f'{count} of {task}' for task, count in counts.items())}."] * bool(counts)


def _differing(cells: Iterable[Result]) -> list[str]:
    alike: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        setting = cell.setting
        where = f"{METHOD_NAMES.get(cell.method, cell.method)} of {setting.model}, {setting.adapter}, N = {setting.n}"
        if parts := differing(cell):
            difference = " and ".join(f"{name} ({', '.join(values)})" for name, values in parts.items())
            alike[difference].append(f"{where}, on {eval_name(setting)}")
    return [
        f"Records that differ in {difference} are averaged in {len(places)} of the tables' cells: "
        + "; ".join(places[:NAMED])
        + (f"; and {len(places) - NAMED} more." if len(places) > NAMED else ".")
        for difference, places in alike.items()
    ]
