"""Turns a study's folder into a report: tables as text, or an HTML page, with figures."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ia2.cache import written_whole
from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.questions import bounds_of, pair_of
from ia2.experiments.schema import Experiment
from ia2.records import Record
from ia2.reports.aggregate import Result, cells
from ia2.reports.by_class import by_class
from ia2.reports.captions import explained
from ia2.reports.class_scores import class_scores
from ia2.reports.comparisons import COMPARED, compared
from ia2.reports.conclusion import conclusion_of_study
from ia2.reports.contents import KEPT, StudyContents, kept_in
from ia2.reports.costs import costs
from ia2.reports.figures.folder_figures import absent_files, folder_figures
from ia2.reports.figures.panels import Drawn
from ia2.reports.figures.reliability import save_figure, svg_of
from ia2.reports.figures.study_figures import study_figures
from ia2.reports.findings import findings_tables
from ia2.reports.forgetting import forgetting
from ia2.reports.known_overlaps import write_overlaps
from ia2.reports.load_records import sound
from ia2.reports.overlaps import SetOverlap, overlap_table, overlaps_of, paths_of
from ia2.reports.page.page import START, page
from ia2.reports.paper import load_paper
from ia2.reports.renderings import STARTS, Format, illustrated, rendered
from ia2.reports.scaled_scores import scaled_scores
from ia2.reports.significance_table import comparison
from ia2.reports.study import StudyTable, study_tables
from ia2.reports.summary import summary
from ia2.reports.table import Table
from ia2.reports.variance_table import variance_tables

FILES: dict[str, str] = {"html": "index.html", "markdown": "report.md", "latex": "report.tex", "csv": "report.csv"}
WITH_FIGURES: tuple[Format, ...] = ("markdown", "latex")
"""Formats whose figures are separate files next to the report."""


@dataclass(frozen=True)
class StudyReport:
    """The report on a study's folder."""

    folder: Path
    """The study's folder."""
    contents: StudyContents
    """Everything that was read from the folder."""
    experiment: Experiment
    cells: tuple[Result, ...]
    tables: tuple[StudyTable, ...]
    """Tables of accuracy and ECE."""
    below: tuple[Table, ...]
    """Class and probability scores, calibration before and after scaling, comparisons of methods, and costs."""
    notes: tuple[str, ...]
    """Sentences on how to read the tables, and on what is missing."""
    failures: Mapping[str, str]
    """Error of each failed unit, by unit id."""

    @classmethod
    def of(cls, folder: Path, *, with_paper: bool) -> "StudyReport":
        """Read a study.

        Args:
            folder: the output folder of `ia2 run`.
            with_paper: whether to show the paper's numbers for the same settings.

        Raises:
            InputError: the folder has no study, or no records of its plan yet, or a record can't be read.
        """
        contents = StudyContents.of(folder)
        experiment = contents.experiment
        every = units(experiment)
        # the study's own model names, as models in different folders or files may share a name in records
        planned = {unit.id: unit.model for unit in every}
        measured, unmeasured = _measured(contents.records, folder)
        records, left_out = sound(measured, folder, planned, experiment.select)
        left_out += unmeasured
        each_set = experiment.measure == "chosen" and len(experiment.draws) > 1
        if each_set:
            records = [_of_any_rate(record) for record in records]
        averages = cells(records, experiment.select)
        paper = load_paper() if with_paper else None
        tables = study_tables(averages, paper, len(experiment.draws))
        done = sum(unit.id in contents.done for unit in every)
        failures = {unit: error for unit, error in contents.failures.items() if unit in planned}
        notes = [experiment.description] if experiment.description else []
        if done < len(every):
            notes.append(f"{done} of the study's {len(every)} units have been computed; {len(failures)} failed.")
        if (seeds := experiment.seeds) is not None:
            notes.append(
                f"A set is one of {seeds.rows} draws of rows with one of {seeds.start} initialisations and one of "
                f"{seeds.order} orders; tests over sets count those with the same rows as one."
            )
        notes += left_out
        notes += explained(averages, experiment.select, tables, paper, len(experiment.draws), each_set=each_set)
        notes += absent_files(averages, folder, contents.overlaps)
        differences = [
            table
            for entry in experiment.compare or (COMPARED,)
            for table in comparison(
                compared(averages, paper, pair_of(entry), within=bounds_of(entry)), experiment.select
            )
        ]
        below = (
            *class_scores(averages),
            *scaled_scores(averages),
            *differences,
            *variance_tables(averages),
            *forgetting(averages),
            *costs(averages),
        )
        return cls(folder, contents, experiment, tuple(averages), tuple(tables), below, tuple(notes), failures)

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """Return every table, in display order."""
        return (*self.findings, *(table.table for table in self.tables), *self.below, *overlap_table(self.overlaps))

    @cached_property
    def findings(self) -> tuple[Table, ...]:
        """Return the tables of findings on the study's claims.

        Raises:
            InputError: a saved adapter can't be read.
        """
        experiment = self.experiment
        return tuple(findings_tables(experiment.claims, self.cells, self.overlaps, experiment.select))

    @cached_property
    def overlaps(self) -> list[SetOverlap]:
        """Return the subspace overlap of each pair of methods, for adapters trained on the same set.

        Raises:
            InputError: a saved adapter can't be read.
        """
        return overlaps_of(self.cells, self.folder, self.contents.overlaps)

    def keep_overlaps(self) -> str | None:
        """Store newly computed overlaps in the study's folder; return a sentence on the reason if that fails.

        Raises:
            InputError: a saved adapter can't be read.
        """
        known = self.contents.overlaps
        computed = {paths_of(overlap.records): overlap.shared for overlap in self.overlaps}
        if computed.keys() <= known.keys():
            return None
        try:
            write_overlaps(self.folder, {**known, **computed})
        except (OSError, InputError) as error:  # the report is the same without it
            return f"The overlaps of adapters aren't kept, so that the next report computes them again. {error}"
        return None

    def keep_records(self, out: Path) -> Path:
        """Write all records to one compressed file, which gives the same report, and return its path.

        Raises:
            InputError: a saved adapter can't be read, or the folder has the records of another study.
        """
        self.check_kept(out)
        overlaps = {paths_of(overlap.records): overlap.shared for overlap in self.overlaps}
        self.contents.with_overlaps(overlaps).keep(out / KEPT)
        return out / KEPT

    def check_kept(self, out: Path) -> None:
        """Refuse a folder with the records of another study, which may be their only copy.

        Raises:
            InputError: it has such records, or they can't be read.
        """
        if (out / KEPT).exists() and (other := kept_in(out / KEPT).experiment.name) != self.experiment.name:
            raise InputError(
                f"{out / KEPT}: this holds the records of the study {other} and is not overwritten. Name another "
                "folder with --out."
            )

    @cached_property
    def first(self) -> str | None:
        """Return a paragraph with the study's result; None if nothing was measured."""
        return conclusion_of_study(self.experiment, self.folder) or summary(self.cells, self.experiment.select)

    @cached_property
    def figures(self) -> dict[str, Drawn]:
        """Draw every figure that has the numbers and files it needs, by heading.

        Raises:
            InputError: a saved adapter can't be read.
        """
        return study_figures(self.cells) | folder_figures(self.cells, self.folder, self.overlaps)

    def text(self, kind: Format) -> str:
        """Return the tables as Markdown, LaTeX or CSV.

        LaTeX is for papers, so its main tables have the paper's layout.
        """
        tables = self.all_tables
        if kind == "latex":
            others = tables[len(self.findings) + len(self.tables) :]
            tables = (*self.findings, *(table.papers_shape for table in self.tables), *others)
        return rendered(self.experiment.name, tables, kind, self.notes, self.first)

    def page(self, out: Path) -> str:
        """Return the HTML page, for writing to the folder `out`."""
        return page(
            self.experiment.name,
            self.all_tables,
            first=self.first,
            notes=self.notes,
            settings=self.experiment.model_dump(mode="json"),
            failures=self.failures,
            # browsers resolve relative paths without following symbolic links
            folder=Path(os.path.relpath(self.folder, out)).as_posix() if self.contents.in_files else None,
            by_class=by_class(self.cells),
            figures={heading: (svg_of(drawn.figure), drawn.caption) for heading, drawn in self.figures.items()},
        )

    def write(self, out: Path, kind: Format | Literal["html"]) -> list[Path]:
        """Write the report, plus figures for Markdown and LaTeX; an earlier report is replaced.

        Args:
            out: the folder.
            kind: the format.

        Returns:
            The written files, the report first.

        Raises:
            InputError: the folder is a file, or a file in the way of the report or a figure isn't from an earlier
                report.
        """
        path = out / FILES[kind]
        _check_replaceable(path, START if kind == "html" else STARTS[kind])
        text = self.page(out) if kind == "html" else self.text(kind)
        drawn: list[Path] = []
        if kind == "markdown" or kind == "latex":
            _check_figures(out, len(self.figures))
            out.mkdir(parents=True, exist_ok=True)
            captioned = []
            for number, (heading, figure) in enumerate(self.figures.items(), start=1):
                drawn += save_figure(figure.figure, out / f"figure{number}")
                captioned.append((heading, figure.caption, f"figure{number}.png"))
            text = illustrated(text, kind, captioned)
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
        return [path, *drawn]


def _measured(records: Sequence[Record], folder: Path) -> tuple[list[Record], list[str]]:
    """Return the records that have evaluation rows, and a sentence on the others.

    Raises:
        InputError: no record has any.
    """
    measured = [record for record in records if not _without_rows(record)]
    if not measured:
        raise InputError(f"{folder}: nothing was measured, as no rows were left to evaluate.")
    unmeasured = len(records) - len(measured)
    return measured, [f"No rows were left to evaluate for {unmeasured} of the records."] * bool(unmeasured)


def _without_rows(record: Record) -> bool:
    """Return whether a record has no evaluation rows although training succeeded or wasn't needed."""
    return record.metrics.n == 0 and record.metrics.accuracy is None and not record.diverged


def _of_any_rate(record: Record) -> Record:
    """Return the record without learning rate and β, which were chosen for each set before evaluation."""
    return record.model_copy(update={"lr": None, "options": record.options.model_copy(update={"beta": None})})


def _check_replaceable(path: Path, start: str) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"--out {path.parent}: this is a file, but a folder is needed. Name another one.")
    if path.is_dir() or (path.exists() and not path.read_bytes().startswith(start.encode())):
        raise InputError(
            f"{path}: this was not written by ia2 report and is not overwritten. Name another folder with --out."
        )


def _check_figures(out: Path, count: int) -> None:
    """Refuse to overwrite images that don't belong to an earlier report. Raises InputError."""
    reports = [(out / FILES[kind], STARTS[kind].encode()) for kind in WITH_FIGURES]
    if any(path.is_file() and path.read_bytes().startswith(start) for path, start in reports):
        return
    for path in (out / f"figure{number}{ending}" for number in range(1, count + 1) for ending in (".png", ".svg")):
        if path.exists():
            raise InputError(
                f"{path}: this is not a figure of an ia2 report and is not overwritten. Name another folder with --out."
            )
