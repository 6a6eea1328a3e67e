"""The model card of an adapter: what it was measured to do, how it was taught, how it is used, what it doesn't know.

It is made from the adapter's records and configuration alone, and holds no text of a row, no duration and no date, so
that the same adapter always has the same card.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from ia2.cache import written_whole
from ia2.models.names import TOKENIZERS
from ia2.models.packaged import PACKAGED
from ia2.records import Record

FILE = "README.md"
CONFIGURATION_FILE = "adapter_config.json"

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "Accuracy",
        "ece": "Expected calibration error",
        "macro_f1": "Macro-F1",
        "balanced_accuracy": "Balanced accuracy",
        "nll": "Negative log-likelihood",
        "brier": "Brier score",
    }
)
"""What the hub's metadata says of each task, by the record's keys."""


@dataclass(frozen=True)
class Asked:
    """How an adapter is asked what it was taught."""

    query: str | None
    """The query of the text `{text}`; None where a built-in task makes queries of its own."""
    chat: bool
    """Whether a query is a turn of the model's chat template."""
    new_tokens: int
    """How long a response may get, in tokens."""


def write_card(folder: Path, records: Sequence[Record], asked: Asked) -> None:
    """Write the card into an adapter's folder.

    Args:
        folder: the adapter's, with PEFT's configuration, and the tokenizer where it is to be there.
        records: all records of this adapter, one for each task that it was measured on.
        asked: how it is asked.
    """
    configuration = json.loads((folder / CONFIGURATION_FILE).read_text(encoding="utf-8"))
    tokenizer = any(any(folder.glob(pattern)) for pattern in TOKENIZERS)
    text = model_card(records, asked, configuration["base_model_name_or_path"], tokenizer=tokenizer)
    with written_whole(folder / FILE) as partial:
        partial.write_text(text, encoding="utf-8")


def model_card(records: Sequence[Record], asked: Asked, base_model: str | None, *, tokenizer: bool) -> str:
    """The text of a card.

    Args:
        records: all records of the adapter, one for each task that it was measured on; at least one.
        asked: how it is asked.
        base_model: the name by which other programs load the base model; None where it has none.
        tokenizer: whether the tokenizer lies beside the card.
    """
    record = records[0]
    assert record.adapter is not None, "records of adapters"
    base = base_model or record.model.id
    name = (record.adapter.path or "").removeprefix("adapters/") or f"{record.model.id}/{record.method}"
    environment = Environment(
        loader=PackageLoader("ia2.adapters", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    query = asked.query or "the task's own query"
    return environment.get_template("card.md.jinja").render(
        metadata=yaml.safe_dump(_metadata(records, base, name), sort_keys=False, allow_unicode=True, width=120),
        title=name.rpartition("/")[2],
        kind=record.adapter.kind,
        base=base,
        base_text=json.dumps(base),
        method=record.method,
        measured=[_result(record) for record in records if record.metrics.n],
        binning=record.metrics.ece_binning or "equal-width",
        training=_training(record),
        asking=_asking(record, asked),
        query=json.dumps(query.replace("{text}", "a text of yours"), ensure_ascii=False),
        chat=asked.chat,
        new_tokens=asked.new_tokens,
        tokenizer=tokenizer,
        model=record.model.id if record.model.id in PACKAGED else base,
        flags=_flags(record, asked),
        limits=_limits(records, base),
    )


def _metadata(records: Sequence[Record], base: str, name: str) -> dict[str, Any]:
    """The hub's metadata: https://huggingface.co/docs/hub/model-cards."""
    record = records[0]
    assert record.adapter is not None, "records of adapters"
    results = [
        {
            "task": {"type": "text-classification" if measured.task.labels else "text-generation"},
            "dataset": {"name": measured.task.eval, "type": measured.task.eval},
            "metrics": metrics,
        }
        for measured in records
        if (metrics := [*_measures(measured)])
    ]
    metadata: dict[str, Any] = {
        "base_model": base,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["ia2", record.adapter.kind, record.method],
    }
    return metadata | ({"model-index": [{"name": name.rpartition("/")[2], "results": results}]} if results else {})


def _measures(record: Record) -> list[dict[str, Any]]:
    """Measures as the hub's metadata has them, with n and the interval of each; free text has the first one alone."""
    measures = []
    for key, shown in MEASURES.items():
        value, interval = record.metrics.get(key), record.metrics.get(f"{key}_interval")
        if value is None or not record.metrics.n:
            continue
        interval_text = f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}" if interval is not None else ""
        details = {"n": record.metrics.n} | ({"interval": list(interval)} if interval is not None else {})
        measures.append(
            {"type": key, "value": value, "name": f"{shown} (n = {record.metrics.n}{interval_text})", "args": details}
        )
    return measures


def _result(record: Record) -> dict[str, Any]:
    """A row of the table of results."""
    metrics = record.metrics
    shown = {
        "accuracy": _with_interval(metrics.accuracy, metrics.get("accuracy_interval"), 100, " %"),
        "ece": _with_interval(metrics.ece, metrics.get("ece_interval"), 1, ""),
    }
    # their intervals are in the metadata above
    shown["macro_f1"] = _with_interval(metrics.macro_f1, None, 100, " %")
    shown |= {key: _with_interval(metrics.get(key), None, 1, "") for key in ("nll", "brier")}
    return {"task": record.task.eval, "n": metrics.n, **shown, "asim": _with_interval(metrics.asim, None, 1, "")}


def _with_interval(value: float | None, interval: Sequence[float] | None, factor: int, unit: str) -> str:
    if value is None:
        return "–"
    digits = 1 if factor == 100 else 3
    beside = f" [{interval[0] * factor:.{digits}f}, {interval[1] * factor:.{digits}f}]" if interval is not None else ""
    return f"{value * factor:.{digits}f}{unit}{beside}"


def _training(record: Record) -> list[tuple[str, str]]:
    """Names and values of the table on training."""
    adapter, options = record.adapter, record.options
    assert adapter is not None, "records of adapters"
    weights = [f"hub commit {record.model.revision}"] if record.model.revision else []
    weights += [f"SHA-256 {record.model.sha256}"] if record.model.sha256 else []
    sizes = {key: value for key, value in adapter.sizes.items() if key not in ("kind", "path") and value}
    labels = options.get("label_sources") or []
    dev_rows = record.n // 2 if options.get("dev_rows") is None else options.get("dev_rows")
    stages = [
        f"{stage.objective} on {source} labels, {stage.steps} steps (stopped by {stage.stopped_by})"
        for stage, source in zip(record.stages, labels, strict=False)
    ]
    tried = [f"{candidate['lr']:g}" for candidate in options.get("tried") or [] if candidate["lr"] is not None]
    shown: dict[str, Any] = {
        "base model": ", ".join([record.model.id, *weights, record.model.dtype or ""]).removesuffix(", "),
        "method": record.method,
        "stages": "; ".join(stages),
        "task": record.task.train,
        "training rows": f"{record.n}, and {dev_rows} dev rows for early stopping and the learning rate",
        "seed of the draw": record.seed,
        "unlabelled texts": options.get("unlabelled") or None,
        "adapter": ", ".join([adapter.kind, *(f"{key} {_listed(value)}" for key, value in sizes.items())]),
        "learning rate": None if record.lr is None else f"{record.lr:g}",
        "learning rates tried": ", ".join(dict.fromkeys(tried)),
        "weight of the token loss": options.beta,
        "dev loss": None if options.dev_loss is None else f"{options.dev_loss:.4g}",
        "label scoring": options.get("label_scoring") if record.task.labels else None,
        "versions": ", ".join(f"{library} {version}" for library, version in record.versions.items()),
    }
    return [(name, str(value)) for name, value in shown.items() if value not in (None, "")]


def _listed(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _asking(record: Record, asked: Asked) -> str:
    """One sentence on the form of a query."""
    form = (
        f"Prompt it with `{json.dumps(asked.query, ensure_ascii=False)[1:-1]}`, with your text in place of `{{text}}`"
        if asked.query is not None
        else f"Prompt it as the built-in task {record.task.train} does (`ia2 tasks` lists them)"
    )
    turn = ", as a turn of the model's chat template" if asked.chat else ""
    answers = (
        "it was trained to answer "
        f"{' or '.join(f'`{json.dumps(label, ensure_ascii=False)[1:-1]}`' for label in labels)}"
        if (labels := record.task.labels)
        else f"it was trained to answer in free text of at most {asked.new_tokens} tokens"
    )
    return f"{form}{turn}, without demonstrations; {answers}."


def _flags(record: Record, asked: Asked) -> str:
    """Options of `ia2 evaluate` without which it would ask otherwise than the adapter was taught."""
    whole = bool(record.task.labels) and record.options.get("label_scoring") in ("whole", "separated")
    return " --chat" * asked.chat + " --label-scoring whole" * whole


def _limits(records: Sequence[Record], base: str) -> list[str]:
    """What the adapter doesn't know, in sentences."""
    record = records[0]
    counts: Mapping[str, int] = {record.task.eval: record.metrics.n for record in records if record.metrics.n}
    tasks = ", ".join(counts) or "nothing"
    limits = [
        f"It was trained on {record.n} rows of {record.task.train} and evaluated on {tasks}. Its behaviour on other "
        "kinds of text and in other languages is unknown."
    ]
    if record.task.labels:
        limits.append(
            "It was trained on its labels only: if none of them is correct, it will still answer with one of them."
        )
        limits.append("The calibration in the table holds only for rows like those it was evaluated on.")
    if counts and (fewest := min(counts.values())) < 100:
        limits.append(
            f"It was evaluated on only {fewest} rows: look at the interval rather than at the number before it."
        )
    if record.model.id in PACKAGED:
        limits.append(
            f"It was trained on the 4-bit weights that ia2 calls {record.model.id}. With the full-precision weights of "
            f"{base} its results are slightly different and were not measured."
        )
    limits.append(f"Outside this task, it still makes the mistakes of {base}.")
    limits.append("No row's text is stored here: `taught.json` holds only labels and a SHA-256 of each query.")
    return limits
