"""A study on one HTML page that needs nothing else: tables that can be sorted, figures, settings and what failed."""

import html
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ia2.reports.aggregate import Record
from ia2.reports.listing import Listing
from ia2.reports.study import SCALES, Entry, StudyTable, eval_name

START = "<!doctype html>\n<!-- ia2 report -->"
"""How each page begins."""

# no address of another host can be asked for, whatever a figure holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

STYLE = """
:root { color-scheme: light dark; --text: #1b1b1f; --quiet: #5c5c66; --back: #fff; --line: #d8d8e0; --band: #f4f4f8;
  --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8ee; --quiet: #a9a9b6; --back: #16161a; --line: #3a3a44;
  --band: #202027; --link: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
thead { background: var(--band); }
.number { text-align: right; }
thead button { all: unset; cursor: pointer; font-weight: 600; }
thead button:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
thead button::after { content: " \\2195"; color: var(--quiet); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: inherit; }
th[aria-sort=descending] button::after { content: " \\2193"; color: inherit; }
summary { cursor: pointer; }
.best > summary { font-weight: 700; }
td small, td ul { color: var(--quiet); }
td ul { margin: .2rem 0; padding: 0; list-style: none; font-size: .85rem; }
figure { margin: 1rem 0; }
figure .wide { background: #fff; padding: .5rem; }
figure svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; }
pre { white-space: pre-wrap; background: var(--band); padding: .6rem; border-radius: 6px; }
"""

SCRIPT = """
for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[head.cellIndex].dataset.value, numeric = head.classList.contains("number");
  const compare = (a, b) => numeric ? a - b : a.localeCompare(b);
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");  // what was not measured comes last either way
    return down ? compare(y, x) : compare(x, y);
  });
  body.append(...rows);
});
"""


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
    parts = [f"<h1>{_safe(title)}</h1>", _items(notes), "<h2>Results</h2>"]
    parts += [_table(table, folder) for table in tables]
    parts += [_listing(listing) for listing in listings]
    if figures:
        parts.append("<h2>Figures</h2>")
        parts += [_figure(number, *figure) for number, figure in enumerate(figures.items())]
    parts.append("<h2>What failed</h2>")
    if failures:
        pairs = failures.items()
        parts += [f"<h3>{_safe(unit)}</h3><pre>{_safe(error)}</pre>" for unit, error in pairs]
    else:
        parts.append("<p>Nothing.</p>")
    parts += ["<h2>Settings</h2>", _settings(settings), "<h2>Models and versions</h2>", _origins(tables)]
    body = "\n".join(parts)
    return (
        f'{START}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{_safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _safe(text: str) -> str:
    return html.escape(text)


def _items(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_safe(sentence)}</li>" for sentence in sentences) + "</ul>"


def _table(table: StudyTable, folder: str) -> str:
    heads = [(heading, place not in (1, 2)) for place, heading in enumerate(table.headings)]
    rows = []
    for line in table.lines:
        texts = (line.setting.source, eval_name(line.setting))
        cells = [f'<td class="number" data-value="{line.setting.n}">{line.setting.n}</td>']
        cells += [f'<td data-value="{_safe(text)}">{_safe(text)}</td>' for text in texts]
        cells += [_cell(entry, folder) for entry in line.entries]
        rows.append(cells)
    return f"<h3>{_safe(table.title)}</h3>\n{_sortable(table.title, heads, rows)}"


def _listing(listing: Listing) -> str:
    heads = [(column.heading, column.numbers is not None) for column in listing.columns]
    rows = []
    for values, texts in zip(listing.rows, listing.texts, strict=True):
        cells = []
        for (_, numeric), value, text in zip(heads, values, texts, strict=True):
            data = "" if value is None else f"{value:.6g}" if numeric else str(value)
            cells.append(f'<td{_class("number" if numeric else "")} data-value="{_safe(data)}">{_safe(text)}</td>')
        rows.append(cells)
    title, caption = _safe(listing.title), _safe(listing.caption)
    return f"<h3>{title}</h3>\n<p>{caption}</p>\n{_sortable(listing.title, heads, rows)}"


def _sortable(name: str, heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """A table whose headings are buttons.

    Args:
        name: what it is called aloud.
        heads: each column's heading, and whether it holds numbers.
        rows: the cells of each row, as HTML.
    """
    head = "".join(
        f'<th scope="col"{_class("number" if numeric else "")}><button type="button">{_safe(heading)}</button></th>'
        for heading, numeric in heads
    )
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    # a box that scrolls must be reachable by keyboard, and then have a name
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{_safe(name)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cell(entry: Entry, folder: str) -> str:
    """A number that opens to the records it was computed from."""
    beside = f"<small>{_safe(entry.beside)}</small>" if entry.beside else ""
    if entry.cell is None or entry.center is None:
        return f'<td class="number" data-value="">{_safe(entry.text)} {beside}</td>'
    chosen = [f"lr {entry.cell.lr:g}"] if entry.cell.lr is not None else []
    chosen += [f"β {entry.cell.beta:g}"] if entry.cell.beta is not None else []
    items = [f"<li>{_safe(', '.join(chosen))}</li>"] if chosen else []
    items += [_source(record, entry, folder) for record in entry.records]
    return (
        f'<td class="number" data-value="{entry.center:.6g}"><details{_class("best" if entry.best else "")}>'
        f"<summary>{_safe(entry.text)}</summary><ul>{''.join(items)}</ul></details>{beside}</td>"
    )


def _source(record: Record, entry: Entry, folder: str) -> str:
    scale, digits = SCALES[entry.measure]
    value = record["metrics"].get(entry.measure)
    shown = "–" if value is None else f"{scale * value:.{digits}f}"
    links = [_link("record", record["file"], folder)]
    if record.get("predictions"):
        rows = posixpath.normpath(posixpath.join(posixpath.dirname(record["file"]), record["predictions"]))
        links.append(_link("rows", rows, folder))
    return f"<li>set {record['seed']}: {shown} {' '.join(links)}</li>"


def _link(text: str, file: str, folder: str) -> str:
    # ./ so that a colon in a folder's name is no scheme
    return f'<a href="{_safe(quote(posixpath.join(".", folder, file)))}" title="{_safe(file)}">{text}</a>'


def _figure(number: int, name: str, figure: tuple[str, str]) -> str:
    svg, caption = figure
    return (
        f'<figure><h3>{_safe(name)}</h3><div class="wide" role="img" aria-label="{_safe(f"{name}: {caption}")}">'
        f"{_inline(svg, f'figure{number}-')}</div><figcaption>{_safe(caption)}</figcaption></figure>"
    )


def _inline(svg: str, prefix: str) -> str:
    """An SVG document as part of a page, its ids made different from those of other figures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _settings(settings: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    pairs = (f"<dt>{_safe(name)}</dt><dd>{_safe(shown(value))}</dd>" for name, value in settings.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _origins(tables: Sequence[StudyTable]) -> str:
    """Which weights and which libraries made the numbers, and what was said while they did."""
    records = [record for table in tables for line in table.lines for entry in line.entries for record in entry.records]
    said: dict[str, None] = {}
    for kind in ("model", "versions"):
        for record in records:
            pairs = (f"{name} {value}" for name, value in record.get(kind, {}).items() if value is not None)
            said[", ".join(pairs)] = None
    for record in records:
        said.update(dict.fromkeys(record.get("notes", ())))
    return _items([sentence for sentence in said if sentence])
