"""A study as a self-contained HTML page: sortable tables, figures, settings and failed units.

The content is computed here. `page.html.jinja` has the layout, `style.css` the style, and `sort.js` the sorting of
tables; all are embedded in the page.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ia2.records import Record
from ia2.reports.by_class import ByClass
from ia2.reports.figures.dark import dark_style, following_page
from ia2.reports.page.settings import setting_rows
from ia2.reports.table import Cell, Table

START = "<!doctype html>\n<!-- ia2 report -->"
"""First lines of each page."""

# blocks requests to other hosts, whatever a figure contains
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

OPEN_BY_CLASS = 2
"""Maximum number of adapters and baselines whose class scores are initially expanded."""


@dataclass(frozen=True)
class Link:
    """A link to a file of the study."""

    text: str
    address: str
    """Percent-encoded path relative to the page's folder."""
    file: str
    """Path relative to the study's folder, for display."""


@dataclass(frozen=True)
class InlineFigure:
    """A figure embedded in the page."""

    heading: str
    caption: str
    drawing: str
    """An SVG element with unique ids, in the page's colours."""


def page(
    title: str,
    tables: Sequence[Table],
    *,
    notes: Sequence[str],
    settings: Mapping[str, Any],
    failures: Mapping[str, str],
    folder: str | None,
    first: str | None = None,
    by_class: Sequence[ByClass] = (),
    figures: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """Return the HTML page.

    Args:
        title: the study's name.
        tables: the study's tables.
        notes: sentences on how to read the tables.
        settings: the study's settings, as in its file.
        failures: the error of each failed unit.
        folder: path from the page's folder to the study's, which the records' files are relative to; None if records
            aren't separate files, in which case there are no links.
        first: a sentence with the study's result, shown at the top.
        by_class: scores of each class, collapsed if there are more than a few.
        figures: an SVG document and its caption, by heading.
    """
    environment = Environment(
        loader=PackageLoader("ia2.reports.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja").render(
        start=START,
        policy=POLICY,
        first=first,
        title=title,
        tables=tables,
        sorted_by=_sorted_by,
        links=lambda record: _links(record, folder),
        notes=notes,
        by_class=by_class,
        by_class_closed=len(by_class) > OPEN_BY_CLASS,
        settings=setting_rows(settings),
        dark_style=dark_style(),
        failures=failures,
        figures=[
            InlineFigure(heading, caption, following_page(_inline(svg, f"figure{number}-")))
            for number, (heading, (svg, caption)) in enumerate((figures or {}).items())
        ],
        origins=_origins(tables),
    )


def _sorted_by(cell: Cell) -> str:
    """Return the sort key of a cell, without the text's rounding; empty for a missing value."""
    if cell.value is None:
        return ""
    return cell.value if isinstance(cell.value, str) else f"{cell.value:.6g}"


def _links(record: Record, folder: str | None) -> list[Link]:
    """Return links to a record and to its predictions."""
    if folder is None:
        return []
    links = [_link("record", str(record.file), folder)]
    if record.predictions:
        rows = posixpath.normpath(posixpath.join(posixpath.dirname(str(record.file)), record.predictions))
        links.append(_link("rows", rows, folder))
    return links


def _link(text: str, file: str, folder: str) -> Link:
    # ./ so that a colon in a folder's name isn't read as a URL scheme
    return Link(text, quote(posixpath.join(".", folder, file)), file)


def _inline(svg: str, prefix: str) -> str:
    """Return an SVG document for embedding in a page, with ids that are unique among figures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _origins(tables: Sequence[Table]) -> list[str]:
    """Return sentences on the weights and libraries used, and on warnings of the runs."""
    records = [origin.record for table in tables for row in table.rows for cell in row for origin in cell.origins]
    sentences: dict[str, None] = {}
    for part in ("model", "versions"):
        for record in records:
            values = record.model.model_dump() if part == "model" else record.versions
            pairs = (f"{name} {value}" for name, value in values.items() if value is not None)
            sentences[", ".join(pairs)] = None
    for record in records:
        sentences.update(dict.fromkeys(record.notes))
    return [sentence for sentence in sentences if sentence]
