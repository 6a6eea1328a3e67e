"""A YAML file of options, looked at before jsonargparse believes it."""

from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from ia2.yaml_files import parsed_yaml


class OptionsFile(ActionConfigFile):
    """The option that names the file."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Take the options of a file in; of one that is no YAML of plain values the parser says so and exits."""
        path = Path(values)
        try:
            parsed_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            parser.error(f"--config {path}: this file can't be read ({error.strerror}).")
        except ValueError as error:  # bytes that are no text are one, too
            parser.error(f"--config {path}: this is not valid YAML ({error}).")
        super().__call__(parser, namespace, values, option_string)  # type: ignore[no-untyped-call]
