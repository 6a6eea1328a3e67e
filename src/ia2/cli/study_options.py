"""The options of the commands for studies; the docstring of every field is its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from ia2.errors import InputError
from ia2.experiments.tracker_names import TrackerName
from ia2.training.early_stopping import checked_count


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a study described in a YAML file; run it again to resume after an interruption.

    Example:
        ia2 run experiments/quick.yaml --out quick
        ia2 run experiments/paper/table1.yaml experiments/paper/table2.yaml --dry-run
    """

    usage: ClassVar[str] = "EXPERIMENT... --out FOLDER"
    experiment: tuple[Path, ...] = field(metadata={"positional": True})
    """The study's YAML file, or several."""
    out: Path | None = None
    """Folder for records, predictions and adapters; it may hold part of the same study already. Several studies each
    get a subfolder with the study's name."""
    store: Path | None = None
    """Folder for work that studies share, such as adapters: what one study has computed isn't computed again by
    another. On a cluster all machines must have access to it."""
    data_dir: Path | None = None
    """A local folder of benchmark files instead of the hub (default: $IA2_DATA_DIR)."""
    limit: int | None = None
    """Maximum number of rows to evaluate of each task."""
    dry_run: bool = False
    """Print what would be computed, and compute nothing."""
    cluster: str | None = None
    """Run on a Ray cluster: HOST:PORT of its head, or auto for the one that this machine belongs to. This needs pip
    install 'ia2[cluster]'."""
    track: TrackerName | None = None
    """Also log each record to this tracker, as a run with its losses, when its unit is done. Install it with pip
    install 'ia2[trackio]', or another of these names."""

    def __post_init__(self) -> None:
        if self.out is None and not self.dry_run:
            raise InputError("--out: this is required, unless --dry-run is given to see what would be computed.")
        if self.limit is not None:
            checked_count("limit", self.limit)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Show the results of a study, as tables in the paper's layout or as a page.

    Example:
        ia2 report my-adapter
        ia2 report quick --format html --out page
    """

    usage: ClassVar[str] = "FOLDER"
    folder: Path = field(metadata={"positional": True})
    """Output folder of run, adapt or demo, or a folder with its records.jsonl.gz."""
    out: Path | None = None
    """Folder for index.html, report.md, report.tex or report.csv, and for the figures of report.md and report.tex
    (default: print the tables, and write a page to report/ in the study's folder)."""
    format: Literal["markdown", "latex", "html", "csv"] = "markdown"
    """Tables as Markdown, LaTeX or CSV, or one HTML page with everything."""
    paper: bool = False
    """Show the paper's numbers beside ours for the same model, adapter, N and tasks."""
    keep_records: bool = False
    """Also write all records to one compressed file, records.jsonl.gz in the folder --out, from which the report can be
    made again."""

    def __post_init__(self) -> None:
        if self.keep_records and self.out is None:
            raise InputError("--keep-records: the records are written beside the report. Name a folder with --out.")


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """Parse and score stored generations again, without a model, after the answer parser has changed.

    Example:
        ia2 rescore my-adapter
        ia2 rescore quick
    """

    usage: ClassVar[str] = "FOLDER"
    folder: Path = field(metadata={"positional": True})
    """Output folder of adapt or run; its records and predictions are rewritten."""
