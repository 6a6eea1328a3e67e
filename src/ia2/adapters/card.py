"""The model card of an adapter: results, training, usage and limitations.

It is made from the adapter's records and configuration only, and has no text of a row, no duration and no date, so that
the same adapter always has the same card.
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
from ia2.models.load import LanguageModel
from ia2.models.names import TOKENIZERS
from ia2.models.packaged import PACKAGED
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.literal_text import TextEncoder
from ia2.records import Record
from ia2.tasks.files.forms import query_of_text

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
"""Names of the metrics in the hub's metadata, by their keys in records."""


@dataclass(frozen=True)
class Asked:
    """The prompt form of an adapter, as in its training."""

    query: str | None
    """Query for the text `{text}`; None if a built-in task has its own form of queries."""
    chat: bool
    """Whether a query is a turn of the model's chat template."""
    new_tokens: int
    """Maximum length of a response, in tokens."""

    @classmethod
    def of(cls, few_shot_set: FewShotSet, model: LanguageModel) -> "Asked":
        """How adapters that were trained on a set are asked.

        Args:
            few_shot_set: the set.
            model: the base model, whose tokenizer tells how long a label is.
        """
        task = few_shot_set.task
        # a benchmark's queries are made of several columns, and a conversation is no text
        of_texts = task.as_written and task.form != "conversation"
        encoder = TextEncoder(model.tokenizer)
        lengths = [len(encoder.of_text(label)) for label in task.labels]
        query = query_of_text(task.form, "{text}") if of_texts else None
        return cls(query, task.chat, max(lengths, default=task.max_new_tokens))


def write_card(folder: Path, records: Sequence[Record], asked: Asked) -> None:
    """Write the card into an adapter's folder.

    Args:
        folder: the adapter's folder, with PEFT's configuration, and possibly the tokenizer.
        records: all records of this adapter, one for each task that it was evaluated on.
        asked: the adapter's prompt form.
    """
    configuration = json.loads((folder / CONFIGURATION_FILE).read_text(encoding="utf-8"))
    tokenizer = any(any(folder.glob(pattern)) for pattern in TOKENIZERS)
    text = model_card(records, asked, configuration["base_model_name_or_path"], tokenizer=tokenizer)
    with written_whole(folder / FILE) as partial:
        partial.write_text(text, encoding="utf-8")


def model_card(records: Sequence[Record], asked: Asked, base_model: str | None, *, tokenizer: bool) -> str:
    """Return the text of a card.

    Args:
        records: all records of the adapter, one for each task that it was evaluated on; at least one.
        asked: the adapter's prompt form.
        base_model: name by which other programs load the base model; None if it has none.
        tokenizer: whether the tokenizer is in the card's folder.
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
        prompt_sentence=_prompt_sentence(record, asked),
        query=json.dumps(query.replace("{text}", "a text of yours"), ensure_ascii=False),
        chat=asked.chat,
        new_tokens=asked.new_tokens,
        tokenizer=tokenizer,
        model=record.model.id if record.model.id in PACKAGED else base,
        flags=_flags(record, asked),
        limits=_limits(records, base),
    )


def _metadata(records: Sequence[Record], base: str, name: str) -> dict[str, Any]:
    """Return the hub's metadata: https://huggingface.co/docs/hub/model-cards."""
    record = records[0]
    assert record.adapter is not None, "records of adapters"
    results = [
        {
            "task": {"type": "text-classification" if measured.task.labels else "text-generation"},
            "dataset": {"name": measured.task.eval, "type": measured.task.eval},
            "metrics": metrics,
        }
        for measured in records
        if (metrics := [*_metric_entries(measured)])
    ]
    metadata: dict[str, Any] = {
        "base_model": base,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["ia2", record.adapter.kind, record.method],
    }
    return metadata | ({"model-index": [{"name": name.rpartition("/")[2], "results": results}]} if results else {})


def _metric_entries(record: Record) -> list[dict[str, Any]]:
    """Return the metrics for the hub's metadata, each with n and interval; free text has only the accuracy."""
    measures = []
    for key, title in MEASURES.items():
        value, interval = record.metrics.get(key), record.metrics.get(f"{key}_interval")
        if value is None or not record.metrics.n:
            continue
        interval_text = f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}" if interval is not None else ""
        details = {"n": record.metrics.n} | ({"interval": list(interval)} if interval is not None else {})
        measures.append(
            {"type": key, "value": value, "name": f"{title} (n = {record.metrics.n}{interval_text})", "args": details}
        )
    return measures


def _result(record: Record) -> dict[str, Any]:
    """Return a row of the table of results."""
    metrics = record.metrics
    cells = {
        "accuracy": _with_interval(metrics.accuracy, metrics.get("accuracy_interval"), 100, " %"),
        "ece": _with_interval(metrics.ece, metrics.get("ece_interval"), 1, ""),
    }
    # the intervals of the following metrics are only in the metadata
    cells["macro_f1"] = _with_interval(metrics.macro_f1, None, 100, " %")
    cells |= {key: _with_interval(metrics.get(key), None, 1, "") for key in ("nll", "brier")}
    return {"task": record.task.eval, "n": metrics.n, **cells, "asim": _with_interval(metrics.asim, None, 1, "")}


def _with_interval(value: float | None, interval: Sequence[float] | None, factor: int, unit: str) -> str:
    if value is None:
        return "–"
    digits = 1 if factor == 100 else 3
    beside = f" [{interval[0] * factor:.{digits}f}, {interval[1] * factor:.{digits}f}]" if interval is not None else ""
    return f"{value * factor:.{digits}f}{unit}{beside}"


def _training(record: Record) -> list[tuple[str, str]]:
    """Return the names and values of the training table."""
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
    values: dict[str, Any] = {
        "base model": ", ".join([record.model.id, *weights, record.model.dtype or ""]).removesuffix(", "),
        "method": record.method,
        "stages": "; ".join(stages),
        "task": record.task.train,
        "training rows": f"{record.n}, and {dev_rows} dev rows for early stopping and the learning rate",
        "seed of the draw": record.seed,
        "unlabelled texts": options.get("unlabelled") or None,
        "adapter": ", ".join([adapter.kind, *(f"{key} {_joined(value)}" for key, value in sizes.items())]),
        "learning rate": None if record.lr is None else f"{record.lr:g}",
        "learning rates tried": ", ".join(dict.fromkeys(tried)),
        "weight of the token loss": options.beta,
        "dev loss": None if options.dev_loss is None else f"{options.dev_loss:.4g}",
        "label scoring": options.get("label_scoring") if record.task.labels else None,
        "versions": ", ".join(f"{library} {version}" for library, version in record.versions.items()),
    }
    return [(name, str(value)) for name, value in values.items() if value not in (None, "")]


def _joined(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _prompt_sentence(record: Record, asked: Asked) -> str:
    """Return one sentence on the form of a query."""
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
    """Return the options of `ia2 evaluate` that are needed to prompt the adapter as in training."""
    whole = bool(record.task.labels) and record.options.get("label_scoring") in ("whole", "separated")
    return " --chat" * asked.chat + " --label-scoring whole" * whole


def _limits(records: Sequence[Record], base: str) -> list[str]:
    """Return the adapter's limitations, in sentences."""
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
        limits.append(
            "The calibration in the table holds only for rows like those it was evaluated on."
            if counts
            else "Its calibration was not measured."
        )
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
