"""A study on one HTML page that needs nothing else: tables that can be sorted, figures, settings and what failed.

What stands in the page is computed here; how it is set is `page.html.jinja`'s, how it looks `style.css`'s, and how its
tables are sorted `sort.js`'s, all of which become part of the page.
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
"""How each page begins."""

# no address of another host can be asked for, whatever a figure holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

OPEN_BY_CLASS = 2
"""Adapters and baselines whose classes are open at first; where there are more, each opens by a press."""


@dataclass(frozen=True)
class Link:
    """A link to a file of the study."""

    text: str
    address: str
    """Relative to the page's folder, with what an address can't hold in percents."""
    file: str
    """Relative to the study's folder, as a person reads it."""


@dataclass(frozen=True)
class InlineFigure:
    """A figure inside the page."""

    heading: str
    caption: str
    drawing: str
    """An SVG element whose ids no other figure has, in the page's colours."""


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
    """The page.

    Args:
        title: the study's name.
        tables: its tables.
        notes: how to read them, in sentences.
        settings: the study's, as its file has them.
        failures: the error of each unit that failed.
        folder: the way from the page's folder to the study's, to which the records' files are relative; None where
            records have no files of their own, so that nothing leads to them.
        first: what the study came to, in a sentence above everything else.
        by_class: what there is to say of each class, closed where there are more than a few.
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
    """What a row is sorted by, without the text's rounding; empty where nothing was measured."""
    if cell.value is None:
        return ""
    return cell.value if isinstance(cell.value, str) else f"{cell.value:.6g}"


def _links(record: Record, folder: str | None) -> list[Link]:
    """To a record, and to the rows that it was measured on."""
    if folder is None:
        return []
    links = [_link("record", str(record.file), folder)]
    if record.predictions:
        rows = posixpath.normpath(posixpath.join(posixpath.dirname(str(record.file)), record.predictions))
        links.append(_link("rows", rows, folder))
    return links


def _link(text: str, file: str, folder: str) -> Link:
    # ./ so that a colon in a folder's name is no scheme
    return Link(text, quote(posixpath.join(".", folder, file)), file)


def _inline(svg: str, prefix: str) -> str:
    """An SVG document as part of a page, its ids made different from those of other figures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _origins(tables: Sequence[Table]) -> list[str]:
    """Which weights and which libraries made the numbers, and what was said while they did."""
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
