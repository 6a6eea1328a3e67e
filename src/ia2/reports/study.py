"""A study's tables: a row for each method in each setting, and in the paper's shape a row for each setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ia2.records import Record
from ia2.reports.aggregate import Result, Setting, deviation, mean
from ia2.reports.best import as_accurate
from ia2.reports.method_names import METHOD_NAMES, method_order
from ia2.reports.paper import Paper, Printed
from ia2.reports.table import Cell, Column, Number, Origin, Table, Value

Measure = Literal["accuracy", "ece"]
BOLD = "Bold: highest accuracy in each setting"
BOLD_ECE = f"{BOLD}, and lowest ECE among the methods whose accuracy is within one standard error of it"
"""Captions; a report's notes have the rule in full."""
SCALES: Mapping[Measure, tuple[int, int]] = {"accuracy": (100, 1), "ece": (1, 2)}
"""What a measure is multiplied by, and how many decimals are printed (the paper's)."""
SETTING = (Column("N", "d"), Column("source"), Column("eval"))
METHOD = Column("method")
MEASURED: Mapping[Measure, Column] = {
    "accuracy": Column("acc %", ".1f", better="higher"),
    "ece": Column("ECE", ".2f", better="lower"),
}
"""The column of each measure."""


@dataclass(frozen=True)
class Entry:
    """A number as it is printed, and what is known of it."""

    text: str
    """Mean and standard deviation."""
    measure: Measure
    cell: Result | None = None
    """What it was computed from."""
    center: float | None = None
    """The mean: accuracy in percent, ECE in [0, 1]."""
    spread: float | None = None
    """The standard deviation in the same unit; None of a single set."""
    best: bool = False
    paper: float | None = None
    """The paper's mean."""
    paper_spread: float | None = None
    """The paper's standard deviation."""
    difference: float | None = None
    """Ours, as printed, less the paper's."""

    @property
    def records(self) -> tuple[Record, ...]:
        """What it was computed from."""
        return self.cell.records if self.cell is not None else ()

    @property
    def beside(self) -> str:
        """The paper's number and how far ours is from it; empty where the paper has none."""
        if self.paper is None:
            return ""
        digits = SCALES[self.measure][1]
        spread = f" ({self.paper_spread:.{digits}f})" if self.paper_spread is not None else ""
        shown = f"paper {self.paper:.{digits}f}{spread}"
        return shown if self.difference is None else f"{shown}, {self.difference:+.{digits}f}"

    def table_cell(self, setting: Setting, method: str) -> Cell:
        """How it stands in a table, in the row of this setting and the column of this method."""
        lr, beta = (self.cell.lr, self.cell.beta) if self.cell is not None else (None, None)
        chosen = [f"{name} {value:g}" for name, value in (("lr", lr), ("β", beta)) if value is not None]
        number = Number(
            setting.listed,
            method,
            self.measure,
            sets=len(self.records),
            records=self.records,
            spread=self.spread,
            best=self.best,
            lr=lr,
            beta=beta,
            paper=self.paper,
            paper_spread=self.paper_spread,
            difference=self.difference,
            differing=self.cell.differing_in_words if self.cell is not None else "",
        )
        origins = tuple(map(self._origin, self.records))
        return Cell(self.text, self.center, self.best, self.beside, ", ".join(chosen), origins, number)

    def _origin(self, record: Record) -> Origin:
        scale, digits = SCALES[self.measure]
        value = record.metrics.get(self.measure)
        apart = {"start": record.options.start_seed, "order": record.options.order_seed}
        named = ", ".join(
            [f"set {record.seed}", *(f"{name} {seed}" for name, seed in apart.items() if seed is not None)]
        )
        return Origin(f"{named}: " + ("–" if value is None else f"{scale * value:.{digits}f}"), record)


@dataclass(frozen=True)
class Line:
    """A row of a table: a setting, and an entry for each method and measure."""

    setting: Setting
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class StudyTable:
    """One model, adapter and label source: a row for each N, source and evaluation task."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[Line, ...]
    calibrated: bool
    """Whether there is an ECE beside each accuracy."""

    @property
    def table(self) -> Table:
        """A row for each method, those of a setting below each other, and a number opening to its records."""
        measures = list(dict.fromkeys(measure for _, measure in self.columns))
        rows = []
        for line in self.lines:
            named = self._named(line)
            for position, method in enumerate(self.methods):
                entries = line.entries[position * len(measures) : (position + 1) * len(measures)]
                rows.append(
                    (
                        *named,
                        METHOD.cell(METHOD_NAMES.get(method, method)),
                        *(entry.table_cell(line.setting, method) for entry in entries),
                    )
                )
        columns = (*SETTING, METHOD, *(MEASURED[measure] for measure in measures))
        return Table(self.title, self.caption, columns, tuple(rows), grouped=len(SETTING))

    @property
    def caption(self) -> str:
        """What its bold numbers and those in parentheses are."""
        spread = any(entry.spread is not None for line in self.lines for entry in line.entries)
        bold = BOLD_ECE if self.calibrated else BOLD
        return f"Mean (standard deviation) over sets. {bold}." if spread else f"{bold}."

    @property
    def papers_shape(self) -> Table:
        """A row for each setting, as the paper prints it: each method above its measures."""
        measured = (
            replace(MEASURED[measure], over=METHOD_NAMES.get(method, method)) for method, measure in self.columns
        )
        rows = []
        for line in self.lines:
            entries = zip(self.columns, line.entries, strict=True)
            rows.append(
                (
                    *self._named(line),
                    *(entry.table_cell(line.setting, method) for (method, _), entry in entries),
                )
            )
        return Table(self.title, self.caption, (*SETTING, *measured), tuple(rows))

    def _named(self, line: Line) -> tuple[Cell, ...]:
        """The cells that say which setting a row is of."""
        values: tuple[Value, ...] = (line.setting.n, line.setting.source, eval_name(line.setting))
        return tuple(column.cell(value) for column, value in zip(SETTING, values, strict=True))

    @property
    def columns(self) -> list[tuple[str, Measure]]:
        """The method and measure of each entry."""
        measures: tuple[Measure, ...] = ("accuracy", "ece") if self.calibrated else ("accuracy",)
        return [(method, measure) for method in self.methods for measure in measures]


def study_tables(cells: Sequence[Result], paper: Paper | None = None, sets: int | None = None) -> list[StudyTable]:
    """The tables of a study, one for each model, adapter and label source.

    Args:
        cells: what was measured.
        paper: the paper's numbers, to stand beside ours.
        sets: how many sets the study has. Numbers of fewer say so; by default none does.
    """
    tables = []
    for key in dict.fromkeys((c.setting.model, c.setting.adapter, c.setting.label_source) for c in cells):
        group_cells = [c for c in cells if (c.setting.model, c.setting.adapter, c.setting.label_source) == key]
        methods = sorted({c.method for c in group_cells}, key=method_order)
        calibrated = any(cell.ece for cell in group_cells)
        lines = []
        for setting in sorted({cell.setting for cell in group_cells}):
            of_method = {cell.method: cell for cell in group_cells if cell.setting == setting}
            lines.append(Line(setting, tuple(_entries(setting, of_method, methods, calibrated, paper, sets))))
        model, adapter, labels = key
        title = f"{model}, {adapter}" + (f", fine-tuned on {labels} labels" if labels != "–" else "")
        tables.append(StudyTable(title, tuple(methods), tuple(lines), calibrated))
    return tables


def _entries(
    setting: Setting,
    of_method: Mapping[str, Result],
    methods: Sequence[str],
    calibrated: bool,
    paper: Paper | None,
    sets: int | None,
) -> list[Entry]:
    # a mean over fewer sets isn't the best of means over more
    most = max(len(cell.records) for cell in of_method.values())
    compared = [cell for cell in of_method.values() if len(cell.records) == most]
    # as printed, so that what reads the same is bold alike
    accuracies = [round(100 * value, 1) for cell in compared if (value := mean(cell.accuracy)) is not None]
    accurate = as_accurate(compared)
    errors = [round(value, 2) for cell in accurate if (value := mean(cell.ece)) is not None]
    best: dict[Measure, float | None] = {"accuracy": max(accuracies, default=None), "ece": min(errors, default=None)}
    entries = []
    for method in methods:
        cell = of_method.get(method)
        theirs = paper.of(setting, method) if paper is not None else None
        entries.append(_entry(cell, "accuracy", best["accuracy"] if cell in compared else None, theirs, sets))
        if calibrated:
            entries.append(_entry(cell, "ece", best["ece"] if cell in accurate else None, theirs, sets))
    return entries


def _entry(cell: Result | None, measure: Measure, best: float | None, paper: Printed | None, sets: int | None) -> Entry:
    values = () if cell is None else cell.accuracy if measure == "accuracy" else cell.ece
    average = mean(values)
    # a table with the paper's numbers has all deviations with its divisor
    theirs = getattr(paper, measure, None)
    their_spread = getattr(paper, f"{measure}_deviation", None)
    if cell is None or average is None:
        return Entry("–", measure, paper=theirs, paper_spread=their_spread)
    scale, digits = SCALES[measure]
    printed = round(scale * average, digits)
    spread = scale * deviation(values, as_paper=paper is not None) if len(values) > 1 else None
    brackets = [] if spread is None else [f"{spread:.{digits}f}"]
    if sets is not None and len(values) < sets:
        brackets.append(f"{len(values)}/{sets}")
    return Entry(
        f"{printed:.{digits}f} ({', '.join(brackets)})" if brackets else f"{printed:.{digits}f}",
        measure,
        cell,
        scale * average,
        spread,
        best=printed == best,
        paper=theirs,
        paper_spread=their_spread,
        difference=round(printed - theirs, digits) if theirs is not None else None,
    )


def eval_name(setting: Setting) -> str:
    """The task that is measured, starred where another one was trained on."""
    return setting.eval + ("*" if setting.out_of_distribution else "")
