"""Parsing untrusted YAML: only plain values, with a limit on expanded anchors and one-line error messages."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ia2.unpacking import check_size

MOST_BYTES = 2**22
"""Of a file; the longest studies have a few kilobytes."""
MOST_NODES = 100_000
"""Maximum number of values in a file after its anchors are expanded."""


class ParsedYaml(NamedTuple):
    """A parsed YAML file."""

    tree: yaml.Node | None
    """The node tree, with line numbers; None for an empty file."""
    content: Any


def read_yaml(path: Path) -> ParsedYaml:
    """Parse a file as `parsed_yaml`.

    Raises:
        OSError: it can't be read.
        ValueError: as `parsed_yaml`, or it is too large, or no UTF-8 text.
    """
    check_size(path, MOST_BYTES)
    return parsed_yaml(path.read_text(encoding="utf-8"))


def parsed_yaml(text: str) -> ParsedYaml:
    """Parse YAML with plain values only; tags can't construct other objects.

    Raises:
        ValueError: the text isn't YAML, a value is invalid, or anchors expand too far or recursively; the message is
            one line.

    Example:
        >>> parsed_yaml("n: [4, 8]").content
        {'n': [4, 8]}
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None and (size := _size(tree, {}, set())) > MOST_NODES:
            raise ValueError(f"its anchors stand for {size} values, and {MOST_NODES} are the most")
        return ParsedYaml(tree, yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (TypeError, OverflowError, AttributeError, LookupError) as error:  # values that PyYAML can't construct
        raise ValueError(" ".join(str(error).split())) from error


def _size(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """Return the number of values in a node with its anchors expanded."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in open_nodes:
        raise ValueError("an anchor holds itself")
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else []
    open_nodes.add(id(node))
    known[id(node)] = 1 + sum(_size(child, known, open_nodes) for child in children)
    open_nodes.remove(id(node))
    return known[id(node)]
