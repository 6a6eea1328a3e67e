"""The names in a study's file, looked at before torch is imported; what else is wrong with it the study itself says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from ia2.cli.suggestions import did_you_mean
from ia2.errors import InputError
from ia2.experiments.baseline_names import BASELINES
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.reviews import NAME as REVIEWS
from ia2.training.method_names import DESCRIPTIONS
from ia2.yaml_files import parsed_yaml


def check_study_names(path: Path, check_model: Callable[[str], None]) -> None:
    """Refuse a study that names a model, task or method that there isn't.

    A file that can't be read, or isn't of the form that a study has, passes: whoever reads the whole of it says why.

    Args:
        path: the study's YAML file.
        check_model: refuses a model's name by an InputError.

    Raises:
        InputError: the names that there aren't, a line each, with their lines in the file and what may be meant.
    """
    try:
        tree, _ = parsed_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # which is told where the study is read
        return
    messages = []
    for key, node in _pairs(tree):
        for name in _names(key, node):
            if (problem := _problem(key, name.value, check_model)) is not None:
                messages.append(f"{path}, line {name.start_mark.line + 1}: {problem}")
    if messages:
        raise InputError("\n".join(messages))


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """The keys and values of a mapping; nothing of anything else."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value


def _names(key: str, node: yaml.Node) -> list[yaml.ScalarNode]:
    """The names that an entry of a study gives; what is described in place, and a task of a file, has its own name."""
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
    """What is wrong with a name; None where nothing is."""
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
