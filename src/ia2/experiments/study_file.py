"""Reading of a study's YAML file, with the line of every mistake."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ia2.errors import InputError
from ia2.experiments.schema import Experiment
from ia2.experiments.schema_parts import Source
from ia2.training.early_stopping import Training
from ia2.training.method_files import issue_location, issue_sentence
from ia2.yaml_files import read_yaml

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""Pydantic's error types for an unknown key, in a model and in a dataclass."""


def load_experiment(path: Path) -> Experiment:
    """Read a study from its YAML file.

    Raises:
        InputError: the file is missing, isn't YAML, or isn't a valid study; each problem is named with its line.
    """
    try:
        tree, content = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path}: this file can't be read ({error.strerror}).") from error
    except ValueError as error:  # includes bytes that aren't UTF-8
        raise InputError(f"{path}: this is not valid YAML ({error}).") from error
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        messages = []
        issues = error.errors(include_url=False)
        for issue in issues:
            deeper = [other["loc"] for other in issues if len(other["loc"]) > len(issue["loc"])]
            if any(location[: len(issue["loc"])] == issue["loc"] for location in deeper):
                continue  # reported for the part; pydantic also reports that its list is too short without it
            message = _unknown(issue) if issue["type"] in UNKNOWN else issue_sentence(issue)
            messages.append(f"{path}, line {_line(tree, issue_location(issue))}: {message}")
        raise InputError("\n".join(messages)) from error


def _unknown(issue: Mapping[str, Any]) -> str:
    """Return the message for an unknown key, with the closest known key."""
    key = ".".join(str(part) for part in issue["loc"])
    known = {name: f"tasks.{name}" for name in Source.model_fields}
    known |= {field.name: f"training.{field.name}" for field in fields(Training)}
    known |= {name: name for name in Experiment.model_fields}
    close = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1)
    return f"{key}: there is no such key." + (f" Did you mean {known[close[0]]}?" if close else "")


def _line(node: Any, location: tuple[str | int, ...]) -> int:
    """Return the line of the innermost part of a location that exists in the file."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            pairs = [(node.value[part], node.value[part])]
        else:
            pairs = []
        if not pairs:
            break
        (key, node), *_ = pairs
        line = key.start_mark.line + 1
    return int(line)
