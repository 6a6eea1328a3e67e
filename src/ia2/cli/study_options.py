"""What the commands about whole studies can be told; the docstring of every field is its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from ia2.errors import InputError
from ia2.experiments.tracker_names import TrackerName
from ia2.training.early_stopping import checked_count


@dataclass(frozen=True, kw_only=True)
class Run:
    """Compute a study that a YAML file describes; run it again to go on where it was stopped.

    Example:
        ia2 run experiments/quick.yaml --out quick
        ia2 run experiments/paper/table1.yaml experiments/paper/table2.yaml --dry-run
    """

    usage: ClassVar[str] = "EXPERIMENT... --out FOLDER"
    experiment: tuple[Path, ...] = field(metadata={"positional": True})
    """The study's YAML file, or several."""
    out: Path | None = None
    """Folder for records, predictions and adapters; it may hold a part of the same study already. Each of several
    studies has a folder in it, of the study's name."""
    store: Path | None = None
    """Folder of what studies have in common, such as adapters: what another study has computed isn't computed again. On
    a cluster all machines must see it."""
    data_dir: Path | None = None
    """A local folder of benchmark files instead of the hub (default: $IA2_DATA_DIR)."""
    limit: int | None = None
    """The most rows to evaluate of each task."""
    dry_run: bool = False
    """Say what would be computed, and compute nothing."""
    cluster: str | None = None
    """Compute on a Ray cluster: HOST:PORT of its head, or auto for the one that this machine belongs to. This needs
    pip install 'ia2[cluster]'."""
    track: TrackerName | None = None
    """Show each record in this tracker too, as a run with its losses, once its unit is done. It must be installed:
    pip install 'ia2[trackio]', or one of the others."""

    def __post_init__(self) -> None:
        if self.out is None and not self.dry_run:
            raise InputError("--out: this must be given; or say --dry-run to see what would be computed.")
        if self.limit is not None:
            checked_count("limit", self.limit)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Show what a study found, as tables in the paper's shape or as a page.

    Example:
        ia2 report my-adapter
        ia2 report quick --format html --out page
    """

    usage: ClassVar[str] = "FOLDER"
    folder: Path = field(metadata={"positional": True})
    """What run, adapt or demo wrote, or a folder with its records.jsonl.gz."""
    out: Path | None = None
    """Folder for index.html, report.md, report.tex or report.csv, and for the figures of the middle two; without it the
    tables are printed, and a page goes to report/ in the study's folder."""
    format: Literal["markdown", "latex", "html", "csv"] = "markdown"
    """Tables as text for a page, a paper or a program, or one HTML page with everything."""
    paper: bool = False
    """Set the paper's numbers beside those of the same model, adapter, N and tasks."""
    keep_records: bool = False
    """Also write all records into one compressed file, records.jsonl.gz in the folder --out, of which report makes the
    same again."""

    def __post_init__(self) -> None:
        if self.keep_records and self.out is None:
            raise InputError("--keep-records: the records are written beside the report. Name a folder with --out.")


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """Find and judge the answers in stored generations again, without a model, after the parser has changed.

    Example:
        ia2 rescore my-adapter
        ia2 rescore quick
    """

    usage: ClassVar[str] = "FOLDER"
    folder: Path = field(metadata={"positional": True})
    """What adapt or run wrote: its records are rewritten, and the predictions beside them."""
