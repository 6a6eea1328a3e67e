"""A study's tables in the paper's shape, as Markdown, LaTeX, HTML or CSV."""

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ia2.reports.aggregate import Cell, Setting, deviation, mean
from ia2.reports.tables import METHOD_NAMES

Format = Literal["markdown", "latex", "html", "csv"]


@dataclass(frozen=True)
class Entry:
    """A number as it is printed, and what is known of it."""

    text: str
    """Mean and standard deviation."""
    best: bool = False
    paper: float | None = None
    """The paper's mean."""
    difference: float | None = None
    """Ours less the paper's."""
    files: tuple[str, ...] = ()
    """The records that it was computed from."""


@dataclass(frozen=True)
class Line:
    """A row of a table: a setting, and an entry for each method and measure."""

    setting: Setting
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class StudyTable:
    """One model, adapter and label source: a row for each N, source and evaluation task."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[Line, ...]
    calibrated: bool
    """Whether there is an ECE beside each accuracy."""

    @property
    def headings(self) -> list[str]:
        """The columns."""
        found = ["N", "source", "eval"]
        for method in self.methods:
            name = METHOD_NAMES.get(method, method)
            found += [f"{name} acc", f"{name} ECE"] if self.calibrated else [f"{name} acc"]
        return found


Paper = Mapping[tuple[str, str, str, int, str, str, str], tuple[float | None, float | None]]
"""The paper's mean accuracy in percent and ECE by model, adapter, label source, N, source, eval and method."""


def study_tables(cells: Sequence[Cell], paper: Paper | None = None) -> list[StudyTable]:
    """The tables of a study, one for each model, adapter and label source.

    Args:
        cells: what was measured.
        paper: the paper's numbers, to stand beside ours.
    """
    found = []
    order = list(METHOD_NAMES)
    for key in dict.fromkeys((c.setting.model, c.setting.adapter, c.setting.label_source) for c in cells):
        own = [c for c in cells if (c.setting.model, c.setting.adapter, c.setting.label_source) == key]
        methods = sorted({c.method for c in own}, key=lambda m: (order.index(m) if m in order else len(order), m))
        calibrated = any(cell.ece for cell in own)
        lines = []
        for setting in sorted({cell.setting for cell in own}):
            of_method = {cell.method: cell for cell in own if cell.setting == setting}
            lines.append(Line(setting, tuple(_entries(setting, of_method, methods, calibrated, paper))))
        model, adapter, labels = key
        title = f"{model}, {adapter}" + (f", fine-tuned on {labels} labels" if labels != "–" else "")
        found.append(StudyTable(title, tuple(methods), tuple(lines), calibrated))
    return found


def _entries(
    setting: Setting, of_method: Mapping[str, Cell], methods: Sequence[str], calibrated: bool, paper: Paper | None
) -> list[Entry]:
    accuracy = {name: mean(cell.accuracy) for name, cell in of_method.items()}
    ece = {name: mean(cell.ece) for name, cell in of_method.items() if cell.ece}
    highest = max((round(100 * value, 1) for value in accuracy.values() if value is not None), default=None)
    lowest = min((round(value, 2) for value in ece.values() if value is not None), default=None)
    entries = []
    for method in methods:
        cell = of_method.get(method)
        theirs: tuple[float | None, float | None] = (None, None)
        if paper is not None:
            key = (setting.model, setting.adapter, setting.label_source, setting.n, setting.source, setting.eval)
            theirs = paper.get((*key, method), (None, None))
        entries.append(_entry(cell, cell.accuracy if cell else (), 100, 1, highest, theirs[0]))
        if calibrated:
            entries.append(_entry(cell, cell.ece if cell else (), 1, 2, lowest, theirs[1]))
    return entries


def _entry(
    cell: Cell | None, values: Sequence[float], scale: int, digits: int, best: float | None, theirs: float | None
) -> Entry:
    center = mean(values)
    if cell is None or center is None:
        return Entry("–", paper=theirs)
    shown = round(scale * center, digits)
    return Entry(
        f"{shown:.{digits}f} ({scale * deviation(values):.{digits}f})",
        best=shown == best,
        paper=theirs,
        difference=shown - theirs if theirs is not None else None,
        files=tuple(record["file"] for record in cell.records),
    )


def rendered(tables: Sequence[StudyTable], kind: Format, note: str) -> str:
    """All tables in one format.

    Args:
        tables: the tables.
        kind: the format.
        note: how to read them, printed with them.
    """
    if kind == "csv":
        return _csv(tables)
    make = {"markdown": _markdown, "latex": _latex, "html": html_table}[kind]
    told = {"markdown": note, "latex": f"% {note}", "html": f"<p>{html.escape(note)}</p>"}[kind]
    return "\n\n".join((told, *(make(table) for table in tables))) + "\n"


def _name(setting: Setting) -> str:
    return setting.eval + ("*" if setting.out_of_distribution else "")


def _beside(entry: Entry, digits: int = 2) -> str:
    if entry.paper is None:
        return ""
    if entry.difference is None:
        return f" [paper {entry.paper:g}]"
    return f" [paper {entry.paper:g}, {entry.difference:+.{digits}f}]"


def _markdown(table: StudyTable) -> str:
    rows = [table.headings, ["---", "---", "---", *["---:"] * (len(table.headings) - 3)]]
    for line in table.lines:
        shown = [(f"**{entry.text}**" if entry.best else entry.text) + _beside(entry) for entry in line.entries]
        rows.append([str(line.setting.n), line.setting.source, _name(line.setting), *shown])
    return f"### {table.title}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _latex(table: StudyTable) -> str:
    def safe(text: str) -> str:
        for mark in "&%_#$":
            text = text.replace(mark, f"\\{mark}")
        return text.replace("→", "$\\to$").replace("β", "$\\beta$").replace("–", "--")

    lines = [
        f"% {table.title}",
        "\\begin{tabular}{lll" + "r" * (len(table.headings) - 3) + "}",
        "\\toprule",
        " & ".join(map(safe, table.headings)) + " \\\\",
        "\\midrule",
    ]
    for line in table.lines:
        shown = [
            (f"\\textbf{{{safe(entry.text)}}}" if entry.best else safe(entry.text)) + safe(_beside(entry))
            for entry in line.entries
        ]
        lines.append(
            " & ".join([str(line.setting.n), safe(line.setting.source), safe(_name(line.setting)), *shown]) + " \\\\"
        )
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def html_table(table: StudyTable, records: str = ".") -> str:
    """A table whose numbers say which records they came from.

    Args:
        table: the table.
        records: the path to the study's folder, from where the table is shown.
    """
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in table.headings)
    body = []
    for line in table.lines:
        cells = [
            f"<td>{line.setting.n}</td><td>{html.escape(line.setting.source)}</td>"
            f"<td>{html.escape(_name(line.setting))}</td>"
        ]
        for entry in line.entries:
            text = f"<b>{html.escape(entry.text)}</b>" if entry.best else html.escape(entry.text)
            links = " ".join(
                f'<a href="{html.escape(f"{records}/{file}")}" title="{html.escape(file)}">{number}</a>'
                for number, file in enumerate(entry.files)
            )
            paper = f'<small class="paper">{html.escape(_beside(entry).strip(" []"))}</small>' if entry.paper else ""
            sources = f'<small class="records">{links}</small>' if links else ""
            cells.append(f'<td class="number">{text}{paper}{sources}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<h3>{html.escape(table.title)}</h3>\n<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


CSV_COLUMNS = (
    *("model", "adapter", "label_source", "n", "source", "eval", "ood", "method", "measure"),
    *("value", "best", "paper", "difference", "records"),
)


def _csv(tables: Sequence[StudyTable]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        measures = ("accuracy", "ece") if table.calibrated else ("accuracy",)
        columns = [(method, measure) for method in table.methods for measure in measures]
        for line in table.lines:
            own = line.setting
            setting = (own.model, own.adapter, own.label_source, own.n, own.source, own.eval, own.out_of_distribution)
            for column, entry in zip(columns, line.entries, strict=True):
                beside = ("" if value is None else f"{value:g}" for value in (entry.paper, entry.difference))
                writer.writerow([*setting, *column, entry.text, entry.best, *beside, " ".join(entry.files)])
    return out.getvalue()
