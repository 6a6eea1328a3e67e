"""One setting over several sets: what a method's records say together, and how far two methods are apart."""

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
    """A method's measurements on the same rows, one for each set."""

    records: tuple[Record, ...]
    """By seed."""
    correct: Bool[Array, "sets rows"]
    confidence: Float[Array, "sets rows"]

    @classmethod
    def of(cls, records: Sequence[Record], folder: Path) -> "OverSets":
        """Read what each record's method answered.

        Args:
            records: of one method and one setting, each of another set.
            folder: the study's, which holds their predictions.

        Raises:
            InputError: predictions can't be read.
            ValueError: the sets were measured on other rows, so that rows can't be drawn for all of them at once.
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
        """The method's key, such as `ia2-sft`."""
        return self.records[0].method

    @property
    def name(self) -> str:
        """The method as the paper writes it."""
        return method_name(self.records[0])

    @property
    def accuracy(self) -> float:
        """The mean over sets, in [0, 1]."""
        return accuracy(self.correct.ravel())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Of the mean, over sets and rows."""
        return interval_over_sets(accuracy, self.correct)

    @property
    def ece(self) -> float:
        """The mean of the sets' expected calibration errors, in [0, 1]."""
        return float(np.mean([expected_calibration_error(*rows) for rows in self.rows_of_sets]))

    @property
    def ece_interval(self) -> tuple[float, float]:
        """Of the mean, over sets and rows."""
        return interval_over_sets(expected_calibration_error, self.confidence, self.correct)

    @property
    def prompt_tokens(self) -> float:
        """Tokens of a query's prompt, the mean over rows and sets."""
        return float(np.mean([record.metrics.prompt_tokens for record in self.records]))

    @property
    def asim(self) -> float | None:
        """The mean similarity to in-context learning, in [-1, 1]; None where it wasn't measured."""
        return mean([value for record in self.records if (value := record.metrics.get("asim")) is not None])

    def more_accurate_than(self, other: "OverSets") -> tuple[float, tuple[float, float]]:
        """How much higher the accuracy is on the same sets and rows, with its interval; in [-1, 1].

        Raises:
            ValueError: the two weren't measured on the same sets.
        """
        if [record.seeds for record in self.records] != [record.seeds for record in other.records]:
            raise ValueError(f"{self.name} and {other.name} were measured on other sets")
        difference = self.correct.astype(np.float64) - other.correct
        return float(difference.mean()), interval_over_sets(lambda rows: float(np.mean(rows)), difference)

    @property
    def rows_of_sets(self) -> list[tuple[Array, Array]]:
        """Each set's confidences and whether they were right."""
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
    """What every method of one setting came to, by its key and in the order of reports.

    Args:
        records: a study's of one model, task and N, a record for each method and set.
        folder: the study's.

    Raises:
        InputError: predictions can't be read.
        ValueError: the sets were measured on other rows.
    """
    methods = sorted({record.method for record in records}, key=method_order)
    return {
        method: OverSets.of([record for record in records if record.method == method], folder) for method in methods
    }


def table_over_sets(title: str, measured: Sequence[OverSets]) -> Table:
    """A row for each method: accuracy and ECE with intervals, asim, the length of a prompt, and training time.

    Args:
        title: what was measured.
        measured: of the same sets and rows.
    """
    table = Table(title, CAPTION, COLUMNS, tuple(method._cells for method in measured))
    return table.without_empty_columns([column.heading for column in COLUMNS[3:]])


def _with_interval(value: float, interval: Sequence[float], printed: str) -> Cell:
    shown, low, high = (format(number, printed) for number in (value, *interval))
    return Cell(f"{shown} [{low}, {high}]", value)
