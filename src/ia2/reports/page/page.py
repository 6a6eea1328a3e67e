"""A study on one HTML page that needs nothing else: tables that can be sorted, figures, settings and what failed.

What stands in the page is computed here; how it is set is `page.html.jinja`'s, how it looks `style.css`'s, and how its
tables are sorted `sort.js`'s, all of which become part of the page.
"""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ia2.records import Record
from ia2.reports.listing import Listing
from ia2.reports.study import SCALES, Entry, StudyTable, eval_name

START = "<!doctype html>\n<!-- ia2 report -->"
"""How each page begins."""

# no address of another host can be asked for, whatever a figure holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class PageLink:
    """A link to a file of the study."""

    text: str
    address: str
    """Relative to the page's folder, with what an address can't hold in percents."""
    file: str
    """Relative to the study's folder, as a person reads it."""


@dataclass(frozen=True)
class PageOrigin:
    """A record that a number was computed from."""

    text: str
    """The set, and the record's own value."""
    links: tuple[PageLink, ...]


@dataclass(frozen=True)
class PageCell:
    """What stands in a row under a heading."""

    text: str
    value: str
    """What the row is sorted by, without the text's rounding; empty where nothing was measured."""
    numeric: bool = False
    best: bool = False
    beside: str = ""
    """What stands behind it in small letters."""
    chosen: str = ""
    """The learning rate and β that were chosen."""
    origins: tuple[PageOrigin, ...] = ()


@dataclass(frozen=True)
class PageHeading:
    """What stands above a column."""

    text: str
    numeric: bool


@dataclass(frozen=True)
class PageTable:
    """A table whose headings are buttons."""

    title: str
    caption: str
    headings: tuple[PageHeading, ...]
    rows: tuple[tuple[PageCell, ...], ...]


@dataclass(frozen=True)
class PageFigure:
    """A figure inside the page."""

    heading: str
    caption: str
    drawing: str
    """An SVG element whose ids no other figure has."""


def page(
    title: str,
    tables: Sequence[StudyTable],
    *,
    listings: Sequence[Listing] = (),
    notes: Sequence[str],
    settings: Mapping[str, Any],
    failures: Mapping[str, str],
    folder: str,
    figures: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """The page.

    Args:
        title: the study's name.
        tables: its tables.
        listings: what stands below them.
        notes: how to read them, in sentences.
        settings: the study's, as its file has them.
        failures: the error of each unit that failed.
        folder: the way from the page's folder to the study's, to which the records' files are relative.
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
        title=title,
        tables=[*(_study_table(table, folder) for table in tables), *map(_listing, listings)],
        notes=notes,
        settings={name: _setting(value) for name, value in settings.items()},
        failures=failures,
        figures=[
            PageFigure(heading, caption, _inline(svg, f"figure{number}-"))
            for number, (heading, (svg, caption)) in enumerate((figures or {}).items())
        ],
        origins=_origins(tables),
    )


def _study_table(table: StudyTable, folder: str) -> PageTable:
    # N is a number, then come the source and the evaluation task, then what was measured
    headings = tuple(PageHeading(text, column not in (1, 2)) for column, text in enumerate(table.headings))
    rows = []
    for line in table.lines:
        setting = line.setting
        task = eval_name(setting)
        cells = [
            PageCell(str(setting.n), str(setting.n), numeric=True),
            PageCell(setting.source, setting.source),
            PageCell(task, task),
        ]
        rows.append((*cells, *(_measured_cell(entry, folder) for entry in line.entries)))
    return PageTable(table.title, "", headings, tuple(rows))


def _listing(listing: Listing) -> PageTable:
    headings = tuple(PageHeading(column.heading, column.numbers is not None) for column in listing.columns)
    rows = []
    for values, texts in zip(listing.rows, listing.texts, strict=True):
        cells = []
        for heading, value, text in zip(headings, values, texts, strict=True):
            sorted_by = "" if value is None else f"{value:.6g}" if heading.numeric else str(value)
            cells.append(PageCell(text, sorted_by, heading.numeric))
        rows.append(tuple(cells))
    return PageTable(listing.title, listing.caption, headings, tuple(rows))


def _measured_cell(entry: Entry, folder: str) -> PageCell:
    """A number that opens to the records it was computed from."""
    if entry.cell is None or entry.center is None:
        return PageCell(entry.text, "", numeric=True, beside=entry.beside)
    chosen = [f"lr {entry.cell.lr:g}"] if entry.cell.lr is not None else []
    chosen += [f"β {entry.cell.beta:g}"] if entry.cell.beta is not None else []
    return PageCell(
        entry.text,
        f"{entry.center:.6g}",
        numeric=True,
        best=entry.best,
        beside=entry.beside,
        chosen=", ".join(chosen),
        origins=tuple(_origin(record, entry, folder) for record in entry.records),
    )


def _origin(record: Record, entry: Entry, folder: str) -> PageOrigin:
    scale, digits = SCALES[entry.measure]
    value = record.metrics.get(entry.measure)
    shown = "–" if value is None else f"{scale * value:.{digits}f}"
    links = [_link("record", str(record.file), folder)]
    if record.predictions:
        rows = posixpath.normpath(posixpath.join(posixpath.dirname(str(record.file)), record.predictions))
        links.append(_link("rows", rows, folder))
    return PageOrigin(f"set {record.seed}: {shown}", tuple(links))


def _link(text: str, file: str, folder: str) -> PageLink:
    # ./ so that a colon in a folder's name is no scheme
    return PageLink(text, quote(posixpath.join(".", folder, file)), file)


def _inline(svg: str, prefix: str) -> str:
    """An SVG document as part of a page, its ids made different from those of other figures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _origins(tables: Sequence[StudyTable]) -> list[str]:
    """Which weights and which libraries made the numbers, and what was said while they did."""
    records = [record for table in tables for line in table.lines for entry in line.entries for record in entry.records]
    said: dict[str, None] = {}
    for part in ("model", "versions"):
        for record in records:
            values = record.model.model_dump() if part == "model" else record.versions
            pairs = (f"{name} {value}" for name, value in values.items() if value is not None)
            said[", ".join(pairs)] = None
    for record in records:
        said.update(dict.fromkeys(record.notes))
    return [sentence for sentence in said if sentence]
