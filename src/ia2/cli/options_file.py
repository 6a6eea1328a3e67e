"""A YAML file of options, checked before jsonargparse reads it."""

from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from ia2.yaml_files import read_yaml


class OptionsFile(ActionConfigFile):
    """Action of the option that names the file."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Read options from a file; if it isn't YAML with plain values, report an error and exit."""
        path = Path(values)
        try:
            read_yaml(path)
        except OSError as error:
            parser.error(f"--config {path}: this file can't be read ({error.strerror}).")
        except ValueError as error:  # includes bytes that aren't UTF-8
            parser.error(f"--config {path}: this is not valid YAML ({error}).")
        super().__call__(parser, namespace, values, option_string)  # type: ignore[no-untyped-call]
