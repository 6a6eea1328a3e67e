"""Lets the site show the examples of docstrings as code.

Our docstrings call that section `Example:`. The site's parser knows it as `Examples:` alone, and would show `>>>` as a
quotation within quotations.
"""

import re
from typing import Any

import griffe

HEADING = re.compile(r"^Example:$", re.MULTILINE)


class DoctestExamples(griffe.Extension):
    """Names the section of each docstring as the parser expects it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring before it is parsed."""
        if obj.docstring:
            obj.docstring.value = HEADING.sub("Examples:", obj.docstring.value)
