"""Registry of the kinds of adapters, by name, for the command line, YAML files, records and reports.

A new kind is one module beside this one and one line in `KINDS`. The sizes of a kind are read from its source code, so
that the command line can show them without importing torch.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ia2.errors import FieldError

if TYPE_CHECKING:
    from peft import PeftConfig

    from ia2.adapters.kind import AdapterKind, Effect

Projection = Literal["query", "key", "value", "output"]
"""As in `ia2.models.architecture_table`, which imports torch."""
KINDS: Mapping[str, str] = {
    "lora": "LoRA",
    "ia3": "IA3",
    "prompt": "PromptTuning",
    "prefix": "PrefixTuning",
    "full": "FullFineTuning",
    "vera": "VeRA",
    "shift": "Shift",
}
"""Name of each kind's class, which is in the module of the kind's name."""


@dataclass(frozen=True)
class Size:
    """One of a kind's sizes, a field of its dataclass."""

    name: str
    type: Any
    """Type of the field's annotation."""
    default: Any
    help: str
    """Docstring of the field."""


def kind_named(name: str) -> "type[AdapterKind]":
    """Return the class of a kind.

    Raises:
        InputError: there is no kind of this name.

    Example:
        >>> kind_named("lora").learning_rates
        (0.0001, 0.0003, 0.001)
    """
    if name not in KINDS:
        raise FieldError("adapter", name, f"there is no such kind; choose from {', '.join(KINDS)}.")
    kind: type[AdapterKind] = getattr(import_module(f"ia2.adapters.{name}"), KINDS[name])
    return kind


def adapter_of(name: str, sizes: Mapping[str, Any]) -> "AdapterKind":
    """Return a kind with the given sizes; lists, as in YAML, are converted to tuples.

    Raises:
        InputError: there is no such kind or size, or the size can't have this value.

    Example:
        >>> adapter_of("lora", {"rank": 4}).rank
        4
    """
    kind = kind_named(name)
    known = [size.name for size in sizes_of(name)]
    if unknown := [size for size in sizes if size not in known]:
        raise FieldError(unknown[0], None, f"{name} has no such size; it has {', '.join(known)}.")
    return kind(**{size: tuple(value) if isinstance(value, list) else value for size, value in sizes.items()})


def effect_of(configuration: "PeftConfig") -> "Effect | None":
    """Return the effect of a PEFT configuration, if it is implemented here; None for other kinds and settings.

    Whether a bank can apply it to the adapted modules is decided by `bank_of`.
    """
    for name in KINDS:
        if (effect := kind_named(name).effect_of(configuration)) is not None:
            return effect
    return None


def label(record: Mapping[str, Any]) -> str:
    """Return an adapter's label in tables, such as `lora r4 α4 q,v`, from its entries in a record.

    The label of an unknown kind is its name.

    Example:
        >>> label({"kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "value"]})
        'lora q,v'
    """
    return kind_named(record["kind"]).label(record) if record["kind"] in KINDS else str(record["kind"])


@cache
def sizes_of(name: str) -> tuple[Size, ...]:
    """Return the sizes of a kind, in order, read from its source.

    Example:
        >>> [(size.name, size.default) for size in sizes_of("prompt")]
        [('tokens', 8)]
    """
    body = next(
        node.body
        for node in ast.parse(_source(name)).body
        if isinstance(node, ast.ClassDef) and node.name == KINDS[name]
    )
    return tuple(_fields(body))


def kinds_with(size: str) -> list[str]:
    """Return the kinds that have a size of this name.

    Example:
        >>> kinds_with("tokens")
        ['prompt', 'prefix']
    """
    return [name for name in KINDS if any(kind_size.name == size for kind_size in sizes_of(name))]


def all_sizes() -> list[Size]:
    """Return every size of any kind, once by name; its help names the kinds that have it, and their defaults.

    Example:
        >>> [size.help for size in all_sizes() if size.name == "tokens"]
        ['Number of virtual tokens (default: 8 for prompt and prefix).']
    """
    sizes: dict[str, Size] = {}
    for size in (size for name in KINDS for size in sizes_of(name)):
        defaults: dict[str, list[str]] = {}
        for kind in kinds_with(size.name):
            (default,) = (kind_size.default for kind_size in sizes_of(kind) if kind_size.name == size.name)
            defaults.setdefault(_as_typed(default), []).append(kind)
        sizes.setdefault(size.name, replace(size, help=f"{size.help.removesuffix('.')} ({_for_kinds(defaults)})."))
    return list(sizes.values())


def _for_kinds(defaults: Mapping[str, Sequence[str]]) -> str:
    """Describe which kinds have a size, by default value; a flag that is off has none."""
    texts = {
        default: f"for {' and '.join(filter(None, [', '.join(kinds[:-1]), kinds[-1]]))}"
        for default, kinds in defaults.items()
    }
    named = ", ".join(f"{default} {kinds}".lstrip() for default, kinds in texts.items())
    return f"default: {named}" if any(defaults) else named


def _as_typed(default: Any) -> str:
    """Return a default as typed on the command line; empty for a flag that is off."""
    return " ".join(default) if isinstance(default, tuple) else str(default) * bool(default)


def _source(name: str) -> str:
    spec = find_spec("ia2")
    assert spec is not None, "this package is here"
    assert spec.submodule_search_locations, "and is a folder"
    return (Path(spec.submodule_search_locations[0]) / "adapters" / f"{name}.py").read_text(encoding="utf-8")


def _fields(body: list[ast.stmt]) -> Iterator[Size]:
    """Yield the annotated fields of a dataclass, each followed by its docstring."""
    for field, described in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value is not None):
            continue
        if "ClassVar" in ast.unparse(field.annotation):
            continue
        assert isinstance(described, ast.Expr), f"the size {field.target.id} has a docstring"
        help_text = " ".join(str(ast.literal_eval(described.value)).split())
        yield Size(field.target.id, _type(field.annotation), _default(field.value), help_text)


def _type(annotation: ast.expr) -> Any:
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return Literal[ast.literal_eval(annotation.slice)]
    return {"int": int, "float": float, "bool": bool, "tuple[Projection, ...]": tuple[Projection, ...]}[
        ast.unparse(annotation)
    ]


def _default(value: ast.expr) -> Any:
    return ("query", "key", "output") if ast.unparse(value) == "ATTENTION" else ast.literal_eval(value)
