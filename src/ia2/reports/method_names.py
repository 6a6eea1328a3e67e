"""The paper's spelling of the methods' names."""

from collections.abc import Sequence

from ia2.records import Record

METHOD_NAMES = {
    "zero-shot": "zero-shot",
    "icl": "ICL",
    "icl-contextual": "ICL contextual",
    "icl-batch": "ICL batch",
    "context": "in context",
    "logistic-hidden": "logistic hidden",
    "logistic-tfidf": "logistic TF-IDF",
    "sft": "SFT",
    "ia2": "IA2",
    "ia2-sft": "IA2→SFT",
    "sft-ia2": "SFT→IA2",
    "ia2+sft": "IA2+SFT",
    "ia2+soft": "IA2+soft SFT",
    "sft-long": "SFT long",
    "sft-soft": "soft SFT",
    "context-distillation": "context distillation",
    "ia2-solved": "IA2 solved",
    "ia2-solved-ia2": "IA2 solved→IA2",
    "ia2-solved-sft": "IA2 solved→SFT",
    "mean-shift": "mean shift",
}
"""Display name of each method, in the reports' order."""
OF_ANY_ADAPTER = ("mean-shift",)
"""Methods with their own kind of adapter, which are compared with every other kind, as baselines are."""


def method_order(method: str) -> tuple[int, str]:
    """Return a sort key of methods: the reports' order, then custom methods."""
    order = list(METHOD_NAMES)
    return (order.index(method) if method in order else len(order), method)


def method_name(record: Record) -> str:
    """Return the method's name in the paper."""
    name: str = record.method
    return METHOD_NAMES.get(name, name)


def with_distinct_name(record: Record, records: Sequence[Record]) -> Record:
    """Return the record with its label source in the method name, if other records share the method."""
    if sum(other.method == record.method for other in records) == 1:
        return record
    return record.model_copy(update={"method": f"{record.method}-{record.options.label_source}"})
