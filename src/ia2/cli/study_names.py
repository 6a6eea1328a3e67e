"""Check of the names in a study's file before torch is imported; other mistakes are found when it is loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from ia2.cli.suggestions import did_you_mean
from ia2.errors import InputError
from ia2.experiments.baseline_names import BASELINES
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.reviews import NAME as REVIEWS
from ia2.training.method_names import DESCRIPTIONS
from ia2.yaml_files import read_yaml


def check_study_names(path: Path, check_model: Callable[[str], None]) -> None:
    """Refuse a study that names an unknown model, task or method.

    A file that can't be read, or isn't a valid study, passes: loading the study reports why.

    Args:
        path: the study's YAML file.
        check_model: raises InputError for an unknown model.

    Raises:
        InputError: lists the unknown names, one per line, with their lines in the file and suggestions.
    """
    try:
        tree, _ = read_yaml(path)
    except (OSError, ValueError):  # reported when the study is loaded
        return
    messages = []
    for key, node in _pairs(tree):
        for name in _names(key, node):
            if (problem := _problem(key, name.value, check_model)) is not None:
                messages.append(f"{path}, line {name.start_mark.line + 1}: {problem}")
    if messages:
        raise InputError("\n".join(messages))


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys and values of a mapping; nothing for other nodes."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value


def _names(key: str, node: yaml.Node) -> list[yaml.ScalarNode]:
    """Return the built-in names in an entry of a study, without described methods and tasks from files."""
    entries: Sequence[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
    names = [entry for entry in entries if isinstance(entry, yaml.ScalarNode)]
    inside = {"tasks": ("train", "evaluate"), "methods": ("method",)}.get(key, ())
    for entry in entries:
        parts = dict(_pairs(entry))
        if "data" in parts:
            continue
        for part in inside:
            value = parts.get(part)
            several = value.value if isinstance(value, yaml.SequenceNode) else [value]
            names += [name for name in several if isinstance(name, yaml.ScalarNode)]
    return names


def _problem(key: str, name: str, check_model: Callable[[str], None]) -> str | None:
    """Return what is wrong with a name; None if it is valid."""
    known: Mapping[str, tuple[str, Sequence[str]]] = {
        "tasks": ("task", (REVIEWS, *BENCHMARKS)),
        "methods": ("method", (*BASELINES, *DESCRIPTIONS)),
    }
    if key in known and name not in known[key][1]:
        kind, names = known[key]
        return f"there is no {kind} {name}.{did_you_mean(name, names)} Choose from {', '.join(names)}."
    if key == "models":
        try:
            check_model(name)
        except InputError as error:
            return str(error)
    return None
