"""A study's report as one HTML page that needs no network: tables that can be sorted, and links to the records."""

import html
from collections.abc import Mapping, Sequence

from ia2.reports.study import StudyTable, html_table

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d5; --quiet: #666; --mark: #0a5fb4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181a; --line: #3a3d40; --quiet: #a2a6aa; --mark: #7db8f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; } a { color: var(--mark); } p { max-width: 46rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child td { border-bottom: 0; } td.number { text-align: right; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--mark); }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
small { display: block; color: var(--quiet); } small.records a { margin-left: .35em; }
figure { margin: 1rem 0; background: #fff; color: #1b1b1b; border-radius: 6px; padding: .5rem; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; } figcaption { font-size: .875rem; }
pre { overflow-x: auto; font-size: .8rem; border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const value = row => row.cells[column].firstChild?.textContent ?? "";
      const compared = (one, other) => {
        const [first, second] = [parseFloat(value(one)), parseFloat(value(other))];
        if (Number.isNaN(first) !== Number.isNaN(second)) return Number.isNaN(first) ? 1 : -1;
        const order = Number.isNaN(first) ? value(one).localeCompare(value(other)) : first - second;
        return falling ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compared));
    });
  });
}
"""


def page(
    title: str,
    description: str,
    note: str,
    tables: Sequence[StudyTable],
    *,
    figures: Mapping[str, str],
    failures: Mapping[str, str],
    settings: str,
    records: str,
) -> str:
    """The whole page.

    Args:
        title: the study's name.
        description: what it is for.
        note: how to read the tables.
        tables: the study's.
        figures: SVG of each figure by its caption.
        failures: the error of each unit that failed.
        settings: the study as YAML.
        records: the path from the page to the study's folder.
    """
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(description)}</p>" if description else "",
        "<h2>Results</h2>",
        f"<p>{html.escape(note)} A number's small figures lead to the records it was computed from; a click on a "
        "column's head sorts by it.</p>",
        *(html_table(table, records) for table in tables),
    ]
    if failures:
        parts.append("<h2>Units that failed</h2><ul>")
        parts += [f"<li>{html.escape(unit)}: {html.escape(error)}</li>" for unit, error in failures.items()]
        parts.append("</ul>")
    if figures:
        parts.append("<h2>Figures</h2>")
    for caption, svg in figures.items():
        # what stands before the element is for files, not for a page
        parts.append(f"<figure>{svg[svg.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>")
    parts.append(f"<h2>The study</h2><pre>{html.escape(settings)}</pre>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )
