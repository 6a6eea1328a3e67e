"""From a study's folder to its report: its tables as text, or a page, with the figures of its records and files."""

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
"""The formats whose figures are files beside the report."""


@dataclass(frozen=True)
class StudyReport:
    """What a study's folder says."""

    folder: Path
    """The study's."""
    contents: StudyContents
    """All that was read of it."""
    experiment: Experiment
    cells: tuple[Result, ...]
    tables: tuple[StudyTable, ...]
    """What was measured."""
    below: tuple[Table, ...]
    """Scores of classes and probabilities, calibration before and after scaling, how far methods are apart, and what
    each took."""
    notes: tuple[str, ...]
    """How the tables are to be read, and what is missing."""
    failures: Mapping[str, str]
    """The error of each unit that failed, by its id."""

    @classmethod
    def of(cls, folder: Path, *, with_paper: bool) -> "StudyReport":
        """Read a study.

        Args:
            folder: what `ia2 run` wrote.
            with_paper: set the paper's numbers beside those of the same settings.

        Raises:
            InputError: no study is there, it has no records of its plan yet, or one can't be read.
        """
        contents = StudyContents.of(folder)
        experiment = contents.experiment
        every = units(experiment)
        # a study's own names of models, which differ where those of folders or files on disk may not
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
        """Every table, in the order in which they are shown."""
        return (*self.findings, *(table.table for table in self.tables), *self.below, *overlap_table(self.overlaps))

    @cached_property
    def findings(self) -> tuple[Table, ...]:
        """What was found of each of the study's claims.

        Raises:
            InputError: a saved adapter can't be read.
        """
        experiment = self.experiment
        return tuple(findings_tables(experiment.claims, self.cells, self.overlaps, experiment.select))

    @cached_property
    def overlaps(self) -> list[SetOverlap]:
        """How much of each two methods' updates lies in the same directions, of adapters trained on the same set.

        Raises:
            InputError: a saved adapter can't be read.
        """
        return overlaps_of(self.cells, self.folder, self.contents.overlaps)

    def keep_overlaps(self) -> str | None:
        """Keep overlaps that were computed now in the study's folder; a sentence says why where that can't be.

        Raises:
            InputError: a saved adapter can't be read.
        """
        known = self.contents.overlaps
        computed = {paths_of(overlap.records): overlap.shared for overlap in self.overlaps}
        if computed.keys() <= known.keys():
            return None
        try:
            write_overlaps(self.folder, {**known, **computed})
        except (OSError, InputError) as error:  # the report is the same
            return f"The overlaps of adapters aren't kept, so that the next report computes them again. {error}"
        return None

    def keep_records(self, out: Path) -> Path:
        """Write all records into one compressed file of a folder, of which the same report can be made; return it.

        Raises:
            InputError: a saved adapter can't be read, or the folder keeps the records of another study.
        """
        self.check_kept(out)
        overlaps = {paths_of(overlap.records): overlap.shared for overlap in self.overlaps}
        self.contents.with_overlaps(overlaps).keep(out / KEPT)
        return out / KEPT

    def check_kept(self, out: Path) -> None:
        """Refuse a folder that keeps the records of another study, which may be the only ones that are left.

        Raises:
            InputError: it does, or what it keeps can't be read.
        """
        if (out / KEPT).exists() and (other := kept_in(out / KEPT).experiment.name) != self.experiment.name:
            raise InputError(
                f"{out / KEPT}: this holds the records of the study {other} and is not overwritten. Name another "
                "folder with --out."
            )

    @cached_property
    def first(self) -> str | None:
        """What the study came to, in a paragraph; None where nothing was measured."""
        return conclusion_of_study(self.experiment, self.folder) or summary(self.cells, self.experiment.select)

    @cached_property
    def figures(self) -> dict[str, Drawn]:
        """Every figure that there are numbers and files for, by its heading.

        Raises:
            InputError: a saved adapter can't be read.
        """
        return study_figures(self.cells) | folder_figures(self.cells, self.folder, self.overlaps)

    def text(self, kind: Format) -> str:
        """The tables as Markdown, LaTeX or CSV: in LaTeX, which is for papers, the main ones in the paper's shape."""
        tables = self.all_tables
        if kind == "latex":
            others = tables[len(self.findings) + len(self.tables) :]
            tables = (*self.findings, *(table.papers_shape for table in self.tables), *others)
        return rendered(self.experiment.name, tables, kind, self.notes, self.first)

    def page(self, out: Path) -> str:
        """The page, for a folder that it is to stand in."""
        return page(
            self.experiment.name,
            self.all_tables,
            first=self.first,
            notes=self.notes,
            settings=self.experiment.model_dump(mode="json"),
            failures=self.failures,
            # as the browser goes, which knows no links between folders
            folder=Path(os.path.relpath(self.folder, out)).as_posix() if self.contents.in_files else None,
            by_class=by_class(self.cells),
            figures={heading: (svg_of(drawn.figure), drawn.caption) for heading, drawn in self.figures.items()},
        )

    def write(self, out: Path, kind: Format | Literal["html"]) -> list[Path]:
        """Write the report, and beside Markdown and LaTeX its figures; an earlier one is replaced.

        Args:
            out: the folder.
            kind: the format.

        Returns:
            What was written, the report first.

        Raises:
            InputError: the folder is a file, or what stands in the place of the report or of a figure is none of ours.
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
    """The records without those for which no row was left, and a sentence on these.

    Raises:
        InputError: there are no others.
    """
    measured = [record for record in records if not _without_rows(record)]
    if not measured:
        raise InputError(f"{folder}: nothing was measured, as no rows were left to evaluate.")
    unmeasured = len(records) - len(measured)
    return measured, [f"No rows were left to evaluate for {unmeasured} of the records."] * bool(unmeasured)


def _without_rows(record: Record) -> bool:
    """Whether an adapter came out, or needn't have, and nothing was there to measure it on."""
    return record.metrics.n == 0 and record.metrics.accuracy is None and not record.diverged


def _of_any_rate(record: Record) -> Record:
    """A record by its method alone: a set's learning rate and β were chosen before it was measured."""
    return record.model_copy(update={"lr": None, "options": record.options.model_copy(update={"beta": None})})


def _check_replaceable(path: Path, start: str) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"--out {path.parent}: this is a file, but a folder is needed. Name another one.")
    if path.is_dir() or (path.exists() and not path.read_bytes().startswith(start.encode())):
        raise InputError(
            f"{path}: this was not written by ia2 report and is not overwritten. Name another folder with --out."
        )


def _check_figures(out: Path, count: int) -> None:
    """Refuse to write so many figures over pictures beside which there is no report of ours. Raises InputError."""
    reports = [(out / FILES[kind], STARTS[kind].encode()) for kind in WITH_FIGURES]
    if any(path.is_file() and path.read_bytes().startswith(start) for path, start in reports):
        return
    for path in (out / f"figure{number}{ending}" for number in range(1, count + 1) for ending in (".png", ".svg")):
        if path.exists():
            raise InputError(
                f"{path}: this is not a figure of an ia2 report and is not overwritten. Name another folder with --out."
            )
