"""A study's tables: a row per method and setting, or in the paper's layout a row per setting."""

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
"""End of a caption; a report's notes state the full rule."""
SCALES: Mapping[Measure, tuple[int, int]] = {"accuracy": (100, 1), "ece": (1, 2)}
"""Factor of each measure, and its number of printed decimals (as in the paper)."""
SETTING = (Column("N", "d"), Column("source"), Column("eval"))
METHOD = Column("method")
MEASURED: Mapping[Measure, Column] = {
    "accuracy": Column("acc %", ".1f", better="higher"),
    "ece": Column("ECE", ".2f", better="lower"),
}
"""Column of each measure."""


@dataclass(frozen=True)
class Entry:
    """A printed number and its details."""

    text: str
    """Mean and standard deviation, as printed."""
    measure: Measure
    cell: Result | None = None
    """The result behind the number."""
    center: float | None = None
    """Mean: accuracy in percent, ECE in [0, 1]."""
    spread: float | None = None
    """Standard deviation in the same unit; None for a single set."""
    best: bool = False
    paper: float | None = None
    """The paper's mean."""
    paper_spread: float | None = None
    """The paper's standard deviation."""
    difference: float | None = None
    """Our mean as printed minus the paper's."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Return the records behind the number."""
        return self.cell.records if self.cell is not None else ()

    @property
    def beside(self) -> str:
        """Return the paper's number and our difference from it; empty if the paper has none."""
        if self.paper is None:
            return ""
        digits = SCALES[self.measure][1]
        spread = f" ({self.paper_spread:.{digits}f})" if self.paper_spread is not None else ""
        shown = f"paper {self.paper:.{digits}f}{spread}"
        return shown if self.difference is None else f"{shown}, {self.difference:+.{digits}f}"

    def table_cell(self, setting: Setting, method: str) -> Cell:
        """Return the table cell, for the row of this setting and the column of this method."""
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
    """A table row: a setting, with an entry for each method and measure."""

    setting: Setting
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class StudyTable:
    """The results of one model, adapter and label source, with a row per N, source and evaluation task."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[Line, ...]
    calibrated: bool
    """Whether there is an ECE for each accuracy."""

    @property
    def table(self) -> Table:
        """Return a table with a row per method, grouped by setting; its numbers list their records."""
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
        """Return the caption, which explains bold numbers and those in parentheses."""
        spread = any(entry.spread is not None for line in self.lines for entry in line.entries)
        bold = BOLD_ECE if self.calibrated else BOLD
        return f"Mean (standard deviation) over sets. {bold}." if spread else f"{bold}."

    @property
    def papers_shape(self) -> Table:
        """Return a table in the paper's layout: a row per setting, and methods as column groups."""
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
        """Return the cells that describe a row's setting."""
        values: tuple[Value, ...] = (line.setting.n, line.setting.source, eval_name(line.setting))
        return tuple(column.cell(value) for column, value in zip(SETTING, values, strict=True))

    @property
    def columns(self) -> list[tuple[str, Measure]]:
        """Return the method and measure of each entry."""
        measures: tuple[Measure, ...] = ("accuracy", "ece") if self.calibrated else ("accuracy",)
        return [(method, measure) for method in self.methods for measure in measures]


def study_tables(cells: Sequence[Result], paper: Paper | None = None, sets: int | None = None) -> list[StudyTable]:
    """Return a study's tables, one per model, adapter and label source.

    Args:
        cells: the study's results.
        paper: the paper's numbers to show next to ours.
        sets: the study's number of sets. Numbers over fewer sets are marked; by default none is.
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
    # a mean over fewer sets can't be the best among means over more
    most = max(len(cell.records) for cell in of_method.values())
    compared = [cell for cell in of_method.values() if len(cell.records) == most]
    # compared as printed, so that numbers that look equal are all bold
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
    # a table with the paper's numbers uses the paper's divisor for all deviations
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
    """Return the evaluation task, with a star if it differs from the training task."""
    return setting.eval + ("*" if setting.out_of_distribution else "")
