"""Loading a task by name: the built-in reviews, or a benchmark from a local folder or the hub."""

import difflib
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ia2.errors import FieldError, InputError
from ia2.randomness import generator
from ia2.tasks.benchmark import DEFAULTS, Benchmark, BenchmarkOptions, Row
from ia2.tasks.benchmarks import BENCHMARKS, STOP
from ia2.tasks.hub_commit import commit_of
from ia2.tasks.json_lines import json_lines
from ia2.tasks.reviews import NAME as REVIEWS
from ia2.tasks.reviews import reviews
from ia2.tasks.task import EVALUATION_ROWS, Example, Task, rows_digest, shuffled_pools, without_repeats

DATA_DIR = "IA2_DATA_DIR"
# how an error message describes a value of the wrong type
WRONG_TYPE: Mapping[type, str] = MappingProxyType(
    {str: "not text", int: "not a whole number", bool: "neither true nor false", dict: "not a JSON object"}
)


def load_task(name: str, *, data_dir: Path | str | None = None, options: BenchmarkOptions = DEFAULTS) -> Task:
    """Load a task by name.

    Args:
        name: `reviews`, or the name of a benchmark.
        data_dir: folder that holds `<benchmark's folder>/train.jsonl` and `test.jsonl` with the hub's columns. Defaults
            to $IA2_DATA_DIR, or to the hub if that isn't set.
        options: benchmark options, for example to follow the published scripts instead of PROTOCOL.

    Raises:
        FieldError: the task doesn't exist, or `data_dir` has no folder for it.
        InputError: its files are missing, unreadable or empty, or the hub can't be reached.

    Example:
        >>> task = load_task("reviews")
        >>> task.labels
        (' negative', ' positive')
    """
    if name == REVIEWS:
        return reviews()
    if name not in BENCHMARKS:
        names = (REVIEWS, *BENCHMARKS)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise FieldError("task", name, f"no such task.{hint} Choose from {', '.join(names)}.")
    benchmark = BENCHMARKS[name]
    benchmark.check(options)
    if local := data_dir or os.environ.get(DATA_DIR):
        folder = Path(local) / benchmark.folder
        if not folder.is_dir():
            rule = f"there is no folder {folder}, where {name} should be. Name another folder, or leave it out."
            raise FieldError("data_dir", data_dir, rule) if data_dir else InputError(f"{DATA_DIR} {local}: {rule}")
        train, evaluation, source = _from_folder(benchmark, folder, options)
    else:
        train, evaluation, source = _from_hub(benchmark, options)
    pool, measured = shuffled_pools(() if benchmark.evaluation_only else train, evaluation, benchmark.name)
    return Task(
        name=benchmark.name,
        description=benchmark.description,
        source=f"{source}, sha256:{rows_digest(pool, measured)}",
        labels=benchmark.labels_of(options),
        pool=pool,
        evaluation=measured,
        evaluation_only=benchmark.evaluation_only,
        answer=benchmark.answer_kind(options),
        max_new_tokens=benchmark.max_new_tokens,
        teacher_tokens=benchmark.teacher_tokens,
        stop=None if benchmark.labels else STOP,
    )


def _held_out(rows: Sequence[Example], name: str) -> tuple[list[Example], list[Example]]:
    """Split a benchmark with a single split into training and evaluation rows: 500 shuffled rows are held out."""
    order = list(without_repeats(rows))
    generator(0, f"rows held out of {name}").shuffle(order)
    return order[EVALUATION_ROWS:], order[:EVALUATION_ROWS]


def _examples(
    source: Path | str, rows: Iterator[tuple[str, Row]], benchmark: Benchmark, options: BenchmarkOptions
) -> list[Example]:
    examples = []
    for position, row in rows:
        example = _example(position, row, benchmark, options)
        if example is not None:
            examples.append(replace(example, response=benchmark.response(example.response, options)))
    if not examples:
        raise InputError(f"{source}: there is no row here that {benchmark.name} can use; is the file truncated?")
    return examples


def _example(position: str, row: Row, benchmark: Benchmark, options: BenchmarkOptions) -> Example | None:
    """Convert a row, or raise an InputError with its position if a column, type or label is wrong."""
    for column, kind in benchmark.columns.items():
        if column not in row:
            read = ", ".join(benchmark.columns)
            raise InputError(f"{position}: the column {column} is missing; {benchmark.name} reads {read}.")
        if type(row[column]) is not kind:  # not isinstance, since True is an int
            value = reprlib.repr(row[column])
            raise InputError(f"{position}: the column {column} holds {value}, which is {WRONG_TYPE[kind]}.")
    try:
        example = benchmark.example(row, options)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{position}: this row doesn't look like one of {benchmark.hub} ({error!r}).") from error
    if example is not None and benchmark.labels and example.response not in benchmark.labels:
        known = ", ".join(benchmark.labels)
        raise InputError(f"{position}: the label {example.response!r} is not one of {known}.")
    return example


def _from_folder(
    benchmark: Benchmark, folder: Path, options: BenchmarkOptions
) -> tuple[list[Example], list[Example], str]:
    train, test = folder / "train.jsonl", folder / "test.jsonl"
    splits = benchmark.measured(options)
    if splits != benchmark.evaluation:
        measured = [folder / f"{split}.jsonl" for split in splits]
    else:
        measured = [train, test] if benchmark.all_local_files else [test]
    evaluation = [example for file in measured for example in _examples(file, json_lines(file), benchmark, options)]
    rows = [] if benchmark.evaluation_only else _examples(train, json_lines(train), benchmark, options)
    return rows, evaluation, f"folder {folder.name}"


def _from_hub(benchmark: Benchmark, options: BenchmarkOptions) -> tuple[list[Example], list[Example], str]:
    commit = commit_of(
        benchmark.hub,
        named=benchmark.name,
        instead=f"give a folder that holds {benchmark.folder}/train.jsonl and test.jsonl as data_dir or in ${DATA_DIR}",
        revision=benchmark.revision,
    )
    parts = []
    for splits in (() if benchmark.evaluation_only else benchmark.train, benchmark.measured(options)):
        parts.append([example for split in splits for example in _split(benchmark, split, commit, options)])
    train, evaluation = parts if benchmark.evaluation else _held_out(parts[0], benchmark.name)
    return train, evaluation, f"hub {benchmark.hub}@{commit}"


def _split(benchmark: Benchmark, split: str, commit: str, options: BenchmarkOptions) -> list[Example]:
    import datasets

    try:
        rows = datasets.load_dataset(
            benchmark.hub, benchmark.config, data_dir=benchmark.hub_folder, split=split, revision=commit
        )
    except Exception as error:  # datasets, its readers and each transport raise their own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{benchmark.name}: {benchmark.hub} ({split}) can't be loaded: {reason}") from error
    source = f"{benchmark.hub} {split}"
    return _examples(source, ((f"{source}, row {at}", row) for at, row in enumerate(rows)), benchmark, options)
