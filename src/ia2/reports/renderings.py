"""Renders tables in the terminal, and all tables of a report as Markdown, LaTeX or CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Literal

from rich import table as rich_table
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement

from ia2.reports.table import Cell, Column, Number, Table
from ia2.tasks.files.writing import no_formula

Format = Literal["markdown", "latex", "csv"]
CSV_COLUMNS = (
    *("model", "adapter", "label_source", "n", "source", "eval", "ood", "method", "measure", "mean", "std", "sets"),
    *("best", "lr", "beta", "paper", "paper_std", "difference", "records", "differing"),
)
STARTS: Mapping[Format, str] = {
    "markdown": "<!-- ia2 report -->",
    "latex": "% ia2 report",
    "csv": ",".join(CSV_COLUMNS[:12]),
}
"""First line of each format, which identifies a file as a report."""


def in_terminal(table: Table, width: int) -> rich_table.Table:
    """Return a table for a terminal of `width` characters; the first column names the rows and isn't truncated.

    If the table is too wide, the least important columns are dropped first, and the caption lists them.
    """
    left_out: list[str] = []
    shown = _in_terminal(table)
    while _width(shown) > width and any(column.dropped for column in table.columns):
        position = max(range(len(table.columns)), key=lambda index: table.columns[index].dropped)
        left_out.append(table.columns[position].whole_heading)
        table = table.without_column(position)
        shown = _in_terminal(table, f"columns left out to fit the terminal: {', '.join(left_out)}")
    return shown


def _width(shown: rich_table.Table) -> int:
    """Return the width of a table in characters when nothing limits it."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, shown).maximum


def _in_terminal(table: Table, note: str = "") -> rich_table.Table:
    caption = "; ".join(filter(None, (table.whole_caption, note)))
    shown = rich_table.Table(
        title=escape(table.title), caption=escape(caption), title_justify="left", caption_justify="left"
    )
    for index, column in enumerate(table.columns):
        shown.add_column(
            escape(column.whole_heading),
            style="bold" if index == 0 else None,
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric or index == 0,
        )
    for row in table.rows:
        shown.add_row(*(_with_beside(cell, "[bold]{}[/]", escape, "\\[") for cell in row))
    return shown


def rendered(title: str, tables: Sequence[Table], kind: Format, notes: Sequence[str], first: str | None = None) -> str:
    """Return all tables in one format.

    Args:
        title: the study's name.
        tables: the tables.
        kind: the format.
        notes: sentences on how to read the tables; omitted in CSV.
        first: the study's result, shown at the top; also omitted in CSV.
    """
    if kind == "csv":
        return _csv(tables)
    if kind == "markdown":
        paragraph = f"{_in_markdown(first)}\n\n" if first else ""
        head = f"{STARTS[kind]}\n\n# {title}\n\n{paragraph}" + "\n".join(f"- {_in_markdown(note)}" for note in notes)
    else:
        preamble = (title, *filter(None, [first]), *notes, "Needs the packages booktabs, graphicx and longtable.")
        head = "\n".join((STARTS[kind], *(f"% {' '.join(line.split())}" for line in preamble)))
    make = {"markdown": _markdown, "latex": _latex}[kind]
    return "\n\n".join((head, *map(make, tables))) + "\n"


def illustrated(text: str, kind: Format, figures: Sequence[tuple[str, str, str]]) -> str:
    """Return a Markdown or LaTeX report with figures appended.

    Args:
        text: the report.
        kind: its format.
        figures: heading, caption and image file of each figure; the files are next to the report.
    """
    parts = [text]
    for heading, caption, file in figures:
        if kind == "markdown":
            parts.append(
                f"## {_in_markdown(heading)}\n\n![{_in_markdown(heading)}]({file})\n\n{_in_markdown(caption)}\n"
            )
        else:
            figure_caption = f"{heading}. {caption}".translate(LATEX)
            picture = f"\\includegraphics[width=\\linewidth]{{{file}}}"
            parts.append(f"\\begin{{figure}}\n\\centering\n{picture}\n\\caption{{{figure_caption}}}\n\\end{{figure}}\n")
    return "\n".join(parts)


def _with_beside(cell: Cell, bold: str, safe: Callable[[str], str], opening: str = "[") -> str:
    """Return a cell's text, bold if it is the best of its row, followed by its note in brackets."""
    text = bold.format(safe(cell.text)) if cell.best else safe(cell.text)
    return f"{text} {opening}{safe(cell.beside)}]" if cell.beside else text


def _in_markdown(text: str) -> str:
    for mark in "\\*_|`<[":
        text = text.replace(mark, f"\\{mark}")
    return text


def _markdown(table: Table) -> str:
    rows = [
        [_in_markdown(heading) for heading in table.headings],
        ["---:" if column.numeric else "---" for column in table.columns],
    ]
    for row in table.rows:
        rows.append([_with_beside(cell, "**{}**", _in_markdown) for cell in row])
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join(filter(None, (f"## {_in_markdown(table.title)}", _in_markdown(table.whole_caption), lines)))


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "→": r"$\to$", "α": r"$\alpha$", "β": r"$\beta$", "–": "--",
    }
)  # fmt: skip
MOST_IN_SMALL = 13
"""Maximum number of columns of a multi-page table in small type; wider ones need tiny type."""
ARROWS = {"higher": " $\\uparrow$", "lower": " $\\downarrow$", None: ""}


def _latex(table: Table) -> str:
    """Return a one-page table if columns share headings, and otherwise one that may break across pages."""
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    caption = ". ".join(filter(None, (table.title, table.whole_caption))).translate(LATEX)
    headings = " & ".join(column.heading.translate(LATEX) + ARROWS[column.better] for column in table.columns)
    rows = [
        " & ".join(_with_beside(cell, "\\textbf{{{}}}", lambda text: text.translate(LATEX)) for cell in row) + " \\\\"
        for row in table.rows
    ]
    if any(column.over for column in table.columns):
        lines = [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{caption}}}",
            # scaled down if it is wider than the text
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{alignment}}}",
            "\\toprule",
            *_common_headings(table.columns),
            f"{headings} \\\\",
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\end{table}",
        ]
    else:
        lines = [
            "{\\small" if len(table.columns) <= MOST_IN_SMALL else "{\\scriptsize",
            f"\\begin{{longtable}}{{{alignment}}}",
            f"\\caption{{{caption}}}\\\\",
            "\\toprule",
            f"{headings} \\\\",
            "\\midrule",
            "\\endhead",
            *rows,
            "\\bottomrule",
            "\\end{longtable}",
            "}",
        ]
    return "\n".join(lines)


def _common_headings(columns: Sequence[Column]) -> list[str]:
    """Return the headings shared by several columns, and the rule under each."""
    names, rules, first = [], [], 1
    for over, group in groupby(columns, key=lambda column: column.over):
        count = len(list(group))
        if over:
            names.append(f" \\multicolumn{{{count}}}{{c}}{{{over.translate(LATEX)}}}")
            rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
        else:
            names += [""] * count
        first += count
    return [" &".join(names) + " \\\\", " ".join(rules)]


def _csv(tables: Sequence[Table]) -> str:
    """Return a row per number, grouped by setting, with a standard deviation if there are at least two sets.

    Differences in the records' conditions are in the last column, as CSV has no notes. Accuracy, balanced accuracy and
    macro-F1 are in percent, ECE and asim in [-1, 1], NLL in nats, Brier in [0, 2]; steps are optimiser steps, and
    seconds an adapter's share. A comparison has a row each for its difference, the two ends of its interval, t and p,
    with pairs in place of sets. Several models or tasks are joined by semicolons.
    """
    lines: dict[tuple[object, ...], list[list[object]]] = {}
    for table in tables:
        for row in table.rows:
            for cell in row:
                if cell.number is not None:
                    lines.setdefault(cell.number.setting, []).append(_csv_line(cell, cell.number))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for alike in lines.values():
        writer.writerows(alike)
    return out.getvalue()


def _csv_line(cell: Cell, number: Number) -> list[object]:
    value = cell.value if not isinstance(cell.value, str) else None
    measured = (_plain(value), _plain(number.spread), number.sets, "" if number.best is None else number.best)
    chosen_and_paper = map(_plain, (number.lr, number.beta, number.paper, number.paper_spread, number.difference))
    files = " ".join(str(record.file) for record in number.records)
    names = map(no_formula, (*number.setting, number.method, number.measure))
    return [*names, *measured, *chosen_and_paper, files, number.differing]


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
