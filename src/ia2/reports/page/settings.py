"""A study's settings as table rows: the field's name in its file, and its value in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ia2.reports.table import NOTHING


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return pairs of field and value, nested fields by path: `training.epochs`, `tasks.1.train`.

    Args:
        settings: settings from JSON. Mappings in lists are numbered from 1; a field without a value has a dash.
    """
    return list(_rows("", settings))


def _rows(path: str, value: Any) -> Iterator[tuple[str, str]]:
    inside: Mapping[Any, Any] = {}
    if isinstance(value, Mapping):
        inside = value
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        inside = dict(enumerate(value, start=1))
    if not inside:
        yield path, _in_words(value)
    for name, part in inside.items():
        yield from _rows(f"{path}.{name}" if path else str(name), part)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_in_words, value)) or NOTHING
    if value is None or value == "" or isinstance(value, Mapping):
        return NOTHING
    return str(value)
