"""A sentence that concludes an adaptation: whether the method is better than its baselines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ia2.evaluation.metrics import accuracy, bootstrap_interval
from ia2.experiments.plan import units
from ia2.experiments.schema import Experiment
from ia2.experiments.single import ordered_records
from ia2.experiments.store import Store
from ia2.records import Record, load_records
from ia2.reports.method_names import method_name, with_distinct_name
from ia2.tasks.json_lines import json_lines


def conclusion(records: Sequence[Record], folder: Path) -> str:
    """Compare the last record's method with the most accurate other method on the same rows.

    The interval is a paired percentile bootstrap over evaluation rows of the mean difference. It doesn't cover the
    choice of training rows: others may give a different result.

    Args:
        records: records of one unit, measured on the same rows.
        folder: the folder of the records.

    Raises:
        ValueError: nothing was measured, or the records have different rows.
    """
    *others, chosen = records
    name, share = method_name(chosen), _percent(chosen)
    if not others:
        assert chosen.metrics.accuracy_interval is not None, "an accuracy is recorded with its interval"
        low, high = (100 * end for end in chosen.metrics.accuracy_interval)
        return f"{name} has an accuracy of {share} on {chosen.metrics.n} rows (95 % CI {low:.1f} to {high:.1f})."
    rival = max(others, key=lambda record: record.metrics.accuracy or 0.0)
    ours, theirs = _correct(chosen, folder), _correct(rival, folder)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} rows can't be compared one by one")
    difference = 100 * (accuracy(ours) - accuracy(theirs))
    low, high = (100 * end for end in bootstrap_interval(lambda a, b: accuracy(a) - accuracy(b), ours, theirs))
    measured = f"difference {difference:+.1f}, 95 % CI {low:+.1f} to {high:+.1f}, {len(ours)} rows"
    if low > 0:
        verdict = f"is more accurate than {method_name(rival)}"
    elif high < 0:
        verdict = f"is less accurate than {method_name(rival)}"
    elif difference > 0:
        verdict = f"is not significantly more accurate than {method_name(rival)}"
    else:
        verdict = f"is not more accurate than {method_name(rival)}"
    return f"{name} ({share}) {verdict} ({_percent(rival)}; {measured})."


def conclusion_of_study(experiment: Experiment, folder: Path) -> str | None:
    """Return the conclusion of a study's folder, as for a finished adaptation.

    Args:
        experiment: the study.
        folder: the study's folder.

    Returns:
        The sentence. None if there are several units or evaluation tasks, if a method has several adapters, or if a
            record or its rows are missing.
    """
    every = units(experiment)
    if len(every) != 1 or len(every[0].evaluate) != 1 or experiment.measure != "chosen":
        return None
    if not Store(folder).is_done(every[0]):
        return None
    records = ordered_records(experiment, load_records(folder, every[0].id))
    if any(not record.metrics.n or not record.rows(folder).is_file() for record in records):
        return None
    return conclusion([with_distinct_name(record, records) for record in records], folder)


def _percent(record: Record) -> str:
    if record.metrics.accuracy is None:
        raise ValueError("a conclusion over no rows is not defined")
    return f"{100 * record.metrics.accuracy:.1f} %"


def _correct(record: Record, folder: Path) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return whether each row was answered correctly."""
    return np.array([bool(row["correct"]) for _, row in json_lines(record.rows(folder))])
