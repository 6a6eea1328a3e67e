"""Mapping from a study's fields to command-line options, so that errors name what the user typed."""

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
"""Options by field of a study, if their names differ."""


def option_of(field: str) -> str:
    """Return the option of a study's field, as named in a command's settings."""
    return FLAGS.get(field, field)


def with_flags(error: InputError, settings: Mapping[str, Any]) -> str:
    """Return an error's message with fields replaced by flags, and values as the user typed them.

    Args:
        error: the error.
        settings: the command's options with their values.
    """
    if isinstance(error, ChangedFieldsError):
        return error.named(dict.fromkeys(_flag(field, settings) for field in error.fields))
    if not isinstance(error, FieldError):
        return str(error)
    typed = settings.get(_option(error.field, settings))
    if error.value is not None and isinstance(typed, str | Path):  # the study has, for example, an absolute path
        error = FieldError(error.field, typed, error.rule)
    return error.named(_flag(error.field, settings))


def _option(field: str, settings: Mapping[str, Any]) -> str:
    # for a study from a YAML file, errors name the keys of that file
    return field if "experiment" in settings else option_of(field)


def _flag(field: str, settings: Mapping[str, Any]) -> str:
    """Return the flag of a field, or the field's name if the command has no such flag."""
    option = _option(field, settings)
    return "--" + option.replace("_", "-") if option in settings else field
