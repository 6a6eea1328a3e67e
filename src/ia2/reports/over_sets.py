"""Results of one setting over several sets, with intervals and paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from ia2.evaluation.metrics import accuracy, expected_calibration_error, interval_over_sets
from ia2.records import Record
from ia2.reports.aggregate import mean
from ia2.reports.method_names import method_name, method_order
from ia2.reports.table import Cell, Column, Table
from ia2.tasks.json_lines import json_lines

Array = ndarray[Any, np.dtype[Any]]

COLUMNS = (
    Column("method"),
    Column("accuracy %", ".1f"),
    Column("ECE", ".3f", dropped=1, explained="ECE with 15 equal-width bins"),
    Column("asim", ".3f", dropped=2, explained="asim: similarity to in-context learning"),
    Column("tokens", ".0f", explained="tokens: prompt length of a query"),
    Column("train s", ".0f", dropped=3, explained="train s: seconds per set"),
)
CAPTION = "means over sets, with 95 % bootstrap intervals over sets and rows in brackets"


@dataclass(frozen=True)
class OverSets:
    """A method's measurements on the same rows, one per set."""

    records: tuple[Record, ...]
    """Records, sorted by seed."""
    correct: Bool[Array, "sets rows"]
    confidence: Float[Array, "sets rows"]

    @classmethod
    def of(cls, records: Sequence[Record], folder: Path) -> "OverSets":
        """Read the predictions of a method's records.

        Args:
            records: one method's records in one setting, each of a different set.
            folder: the study's folder with their predictions.

        Raises:
            InputError: predictions can't be read.
            ValueError: the sets have different rows, so rows can't be resampled jointly.
        """
        ordered = sorted(records, key=lambda record: record.seeds)
        answers = [[row for _, row in json_lines(record.rows(folder))] for record in ordered]
        queries = [[(row["query"], row["response"]) for row in rows] for rows in answers]
        if any(others != queries[0] for others in queries):
            raise ValueError("sets that were measured on other rows have no interval over sets and rows")
        correct = np.array([[bool(row["correct"]) for row in rows] for rows in answers])
        confidence = np.array([[float(row["confidence"]) for row in rows] for rows in answers])
        return cls(tuple(ordered), correct, confidence)

    @property
    def method(self) -> str:
        """Return the method's key, such as `ia2-sft`."""
        return self.records[0].method

    @property
    def name(self) -> str:
        """Return the method's name in the paper."""
        return method_name(self.records[0])

    @property
    def accuracy(self) -> float:
        """Return the mean accuracy over sets, in [0, 1]."""
        return accuracy(self.correct.ravel())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Return the confidence interval of the mean accuracy, over sets and rows."""
        return interval_over_sets(accuracy, self.correct)

    @property
    def ece(self) -> float:
        """Return the mean expected calibration error over sets, in [0, 1]."""
        return float(np.mean([expected_calibration_error(*rows) for rows in self.rows_of_sets]))

    @property
    def ece_interval(self) -> tuple[float, float]:
        """Return the confidence interval of the mean ECE, over sets and rows."""
        return interval_over_sets(expected_calibration_error, self.confidence, self.correct)

    @property
    def prompt_tokens(self) -> float:
        """Return the mean prompt length of a query in tokens, over rows and sets."""
        return float(np.mean([record.metrics.prompt_tokens for record in self.records]))

    @property
    def asim(self) -> float | None:
        """Return the mean similarity to in-context learning, in [-1, 1]; None if it wasn't measured."""
        return mean([value for record in self.records if (value := record.metrics.get("asim")) is not None])

    def more_accurate_than(self, other: "OverSets") -> tuple[float, tuple[float, float]]:
        """Return the accuracy gain on the same sets and rows, in [-1, 1], with its confidence interval.

        Raises:
            ValueError: the methods have different sets.
        """
        if [record.seeds for record in self.records] != [record.seeds for record in other.records]:
            raise ValueError(f"{self.name} and {other.name} were measured on other sets")
        difference = self.correct.astype(np.float64) - other.correct
        return float(difference.mean()), interval_over_sets(lambda rows: float(np.mean(rows)), difference)

    @property
    def rows_of_sets(self) -> list[tuple[Array, Array]]:
        """Return the confidences of each set and whether its predictions are correct."""
        return list(zip(self.confidence, self.correct, strict=True))

    @property
    def _cells(self) -> tuple[Cell, ...]:
        trained = [record.seconds for record in self.records if "train" in record.seconds]
        seconds = mean([phases["train"] + phases.get("teacher", 0.0) for phases in trained])
        return (
            COLUMNS[0].cell(self.name),
            _with_interval(100 * self.accuracy, [100 * end for end in self.accuracy_interval], ".1f"),
            _with_interval(self.ece, self.ece_interval, ".3f"),
            *(
                column.cell(value)
                for column, value in zip(COLUMNS[3:], (self.asim, self.prompt_tokens, seconds), strict=True)
            ),
        )


def methods_over_sets(records: Sequence[Record], folder: Path) -> dict[str, OverSets]:
    """Return the results of every method in one setting, by method key in the reports' order.

    Args:
        records: a study's records of one model, task and N, one per method and set.
        folder: the study's folder.

    Raises:
        InputError: predictions can't be read.
        ValueError: the sets have different rows.
    """
    methods = sorted({record.method for record in records}, key=method_order)
    return {
        method: OverSets.of([record for record in records if record.method == method], folder) for method in methods
    }


def table_over_sets(title: str, measured: Sequence[OverSets]) -> Table:
    """Return a table with a row per method: accuracy and ECE with intervals, asim, prompt length, training time.

    Args:
        title: the table's title.
        measured: results on the same sets and rows.
    """
    table = Table(title, CAPTION, COLUMNS, tuple(method._cells for method in measured))
    return table.without_empty_columns([column.heading for column in COLUMNS[3:]])


def _with_interval(value: float, interval: Sequence[float], printed: str) -> Cell:
    shown, low, high = (format(number, printed) for number in (value, *interval))
    return Cell(f"{shown} [{low}, {high}]", value)
