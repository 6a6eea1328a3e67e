"""The options that stand for a study's fields, so that an error names what the person typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ia2.errors import ChangedFieldsError, FieldError, InputError

FLAGS = {
    "learning_rate": "lr",
    "learning_rates": "lr",
    "betas": "beta",
    "rows": "limit",
    "first_seed": "seed",
    "models": "model",
    "kind": "adapter",
    "label_sources": "label_source",
    "adapters": "adapter",
    "methods": "method",
    "train": "task",
    "tokens": "virtual_tokens",
}
"""What the options of a command are called that have another name than the field of a study that they stand for."""


def option_of(field: str) -> str:
    """The option that stands for a field, as a command's settings name it."""
    return FLAGS.get(field, field)


def with_flags(error: InputError, settings: Mapping[str, Any]) -> str:
    """An error as the command line says it: a field by the flag that stands for it, the value as it was typed.

    Args:
        error: what is wrong.
        settings: the command's options with their values.
    """
    if isinstance(error, ChangedFieldsError):
        return error.named(dict.fromkeys(_flag(field, settings) for field in error.fields))
    if not isinstance(error, FieldError):
        return str(error)
    typed = settings.get(_option(error.field, settings))
    if error.value is not None and isinstance(typed, str | Path):  # a path was made absolute, for example
        error = FieldError(error.field, typed, error.rule)
    return error.named(_flag(error.field, settings))


def _option(field: str, settings: Mapping[str, Any]) -> str:
    # where a study's own file is given, its fields are that file's keys
    return field if "experiment" in settings else option_of(field)


def _flag(field: str, settings: Mapping[str, Any]) -> str:
    """The flag that stands for a field; its own name where the command has none for it."""
    option = _option(field, settings)
    return "--" + option.replace("_", "-") if option in settings else field
