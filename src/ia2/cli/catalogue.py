"""Lists of the built-in tasks, models and methods. Imports nothing slow, since new users start with these."""

from rich.table import Table

from ia2.cli.console import stdout
from ia2.models.packaged import PACKAGED
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.load import load_task
from ia2.training.method_names import DESCRIPTIONS


def list_tasks() -> None:
    """Print one line on each built-in task."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("task", "paper", "kind", "use", "what it is"):
        table.add_column(heading)
    table.add_row("reviews", "–", "label", "train and evaluate", load_task("reviews").description)
    for name, benchmark in BENCHMARKS.items():
        use = "evaluate" if benchmark.evaluation_only else "train and evaluate"
        kind = "label" if benchmark.labels else "text"
        table.add_row(name, benchmark.paper_name, kind, use, benchmark.description)
    stdout().print(table)


def list_models() -> None:
    """Print one line on each built-in model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "licence", "what it is"):
        table.add_column(heading)
    for name, packaged in PACKAGED.items():
        table.add_row(name, packaged.licence, packaged.description)
    stdout().print(table)
    stdout().print("Any Hugging Face model id, folder or GGUF file works as well.")


def list_methods() -> None:
    """Print one line on each method."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("method", "what it is"):
        table.add_column(heading)
    for name, description in DESCRIPTIONS.items():
        table.add_row(name, description)
    stdout().print(table)
    stdout().print("A YAML file can describe another; see docs/method.md.")
