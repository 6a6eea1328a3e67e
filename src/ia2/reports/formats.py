"""A study's tables as Markdown, LaTeX or CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ia2.reports.aggregate import Cell, deviation, mean
from ia2.reports.captions import differing
from ia2.reports.costs import cost
from ia2.reports.listing import Listing
from ia2.reports.significance_table import COMPARED, Comparison
from ia2.reports.study import StudyTable, eval_name
from ia2.reports.tables import METHOD_NAMES

Format = Literal["markdown", "latex", "csv"]
CSV_COLUMNS = (
    *("model", "adapter", "label_source", "n", "source", "eval", "ood", "method", "measure", "mean", "std", "sets"),
    *("best", "lr", "beta", "paper", "difference", "records", "differing"),
)
STARTS: Mapping[Format, str] = {
    "markdown": "<!-- ia2 report -->",
    "latex": "% ia2 report",
    "csv": ",".join(CSV_COLUMNS[:12]),
}
"""How what is written begins, by which it is known for a report."""


def rendered(
    title: str,
    tables: Sequence[StudyTable],
    kind: Format,
    notes: Sequence[str],
    listings: Sequence[Listing] = (),
    comparisons: Sequence[Comparison] = (),
) -> str:
    """All tables in one format.

    Args:
        title: the study's name.
        tables: the tables.
        kind: the format.
        notes: how to read them, printed with them; CSV has no place for it.
        listings: what stands below them; CSV has what they say in lines of its own.
        comparisons: what CSV's lines of comparisons say.
    """
    if kind == "csv":
        return _csv(tables, comparisons)
    if kind == "markdown":
        head = f"{STARTS[kind]}\n\n# {title}\n\n" + "\n".join(f"- {_in_markdown(note)}" for note in notes)
    else:
        said = (title, *notes, "Needs the packages booktabs, graphicx and longtable.")
        head = "\n".join((STARTS[kind], *(f"% {' '.join(line.split())}" for line in said)))
    make, list_ = {"markdown": (_markdown, _markdown_listing), "latex": (_latex, _latex_listing)}[kind]
    return "\n\n".join((head, *map(make, tables), *map(list_, listings))) + "\n"


def illustrated(text: str, kind: Format, figures: Sequence[tuple[str, str, str]]) -> str:
    """A report in Markdown or LaTeX with figures at its end.

    Args:
        text: the report.
        kind: its format.
        figures: the heading, the caption and the file of each, a picture that stands beside the report.
    """
    parts = [text]
    for heading, caption, file in figures:
        if kind == "markdown":
            parts.append(
                f"## {_in_markdown(heading)}\n\n![{_in_markdown(heading)}]({file})\n\n{_in_markdown(caption)}\n"
            )
        else:
            said = f"{heading}. {caption}".translate(LATEX)
            picture = f"\\includegraphics[width=\\linewidth]{{{file}}}"
            parts.append(f"\\begin{{figure}}\n\\centering\n{picture}\n\\caption{{{said}}}\n\\end{{figure}}\n")
    return "\n".join(parts)


def _in_markdown(text: str) -> str:
    for mark in "\\*_|`<[":
        text = text.replace(mark, f"\\{mark}")
    return text


def _markdown(table: StudyTable) -> str:
    rows = [[_in_markdown(heading) for heading in table.headings], ["---"] * 3 + ["---:"] * len(table.columns)]
    for line in table.lines:
        setting = (str(line.setting.n), line.setting.source, eval_name(line.setting))
        shown = [f"**{entry.text}**" if entry.best else entry.text for entry in line.entries]
        beside = [f" [{entry.beside}]" if entry.beside else "" for entry in line.entries]
        rows.append([*map(_in_markdown, setting), *(a + b for a, b in zip(shown, beside, strict=True))])
    return f"## {_in_markdown(table.title)}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _markdown_listing(listing: Listing) -> str:
    columns = listing.columns
    rows = [[column.heading for column in columns], ["---:" if column.numbers else "---" for column in columns]]
    rows[:1] = [[_in_markdown(heading) for heading in rows[0]]]
    rows += [[_in_markdown(text) for text in texts] for texts in listing.texts]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"## {_in_markdown(listing.title)}\n\n{_in_markdown(listing.caption)}\n\n{lines}"


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "→": r"$\to$", "α": r"$\alpha$", "β": r"$\beta$", "–": "--",
    }
)  # fmt: skip


def _latex(table: StudyTable) -> str:
    """A table with each method above its measures, made smaller where it is wider than the text."""
    each = len(table.columns) // len(table.methods)
    firsts = range(4, 4 + len(table.columns), each)
    names = [METHOD_NAMES.get(method, method).translate(LATEX) for method in table.methods]
    measures = {"accuracy": "acc $\\uparrow$", "ece": "ECE $\\downarrow$"}
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{table.title.translate(LATEX)}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        "\\begin{tabular}{rll" + "r" * len(table.columns) + "}",
        "\\toprule",
        " & & & " + " & ".join(f"\\multicolumn{{{each}}}{{c}}{{{name}}}" for name in names) + " \\\\",
        " ".join(f"\\cmidrule(lr){{{first}-{first + each - 1}}}" for first in firsts),
        " & ".join(("N", "source", "eval", *(measures[measure] for _, measure in table.columns))) + " \\\\",
        "\\midrule",
    ]
    for line in table.lines:
        shown = []
        for entry in line.entries:
            text = entry.text.translate(LATEX)
            beside = f" [{entry.beside.translate(LATEX)}]" if entry.beside else ""
            shown.append((f"\\textbf{{{text}}}" if entry.best else text) + beside)
        setting = (str(line.setting.n), line.setting.source, eval_name(line.setting))
        lines.append(" & ".join([*(one.translate(LATEX) for one in setting), *shown]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}", "\\end{table}"])


def _latex_listing(listing: Listing) -> str:
    """A table that may be longer than a page."""
    columns = listing.columns
    lines = [
        "{\\small",
        "\\begin{longtable}{" + "".join("r" if column.numbers else "l" for column in columns) + "}",
        f"\\caption{{{listing.title.translate(LATEX)}. {listing.caption.translate(LATEX)}}}\\\\",
        "\\toprule",
        " & ".join(column.heading.translate(LATEX) for column in columns) + " \\\\",
        "\\midrule",
        "\\endhead",
        *(" & ".join(text.translate(LATEX) for text in texts) + " \\\\" for texts in listing.texts),
    ]
    return "\n".join([*lines, "\\bottomrule", "\\end{longtable}", "}"])


def _csv(tables: Sequence[StudyTable], comparisons: Sequence[Comparison]) -> str:
    """A line for each number, with a standard deviation where there are two sets.

    What its records were made with differently stands at its end, as notes have no place here.
    Accuracy is in percent, ECE and asim in [-1, 1], steps are an optimiser's, seconds an adapter's share. A comparison
    has a line for its difference, the ends of its interval, t and p each, with pairs for sets; where it is over several
    models or tasks, these are joined by semicolons.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for line in table.lines:
            own = line.setting
            setting = (own.model, own.adapter, own.label_source, own.n, own.source, own.eval, own.out_of_distribution)
            for column, entry in zip(table.columns, line.entries, strict=True):
                rate, beta = (entry.cell.lr, entry.cell.beta) if entry.cell is not None else (None, None)
                measured = (*map(_plain, (entry.center, entry.spread)), len(entry.records), entry.best)
                files = " ".join(str(record.file) for record in entry.records)
                told = map(_plain, (rate, beta, entry.paper, entry.difference))
                writer.writerow([*setting, *column, *measured, *told, files, _mixed(entry.cell)])
            for cell in (
                entry.cell for entry in line.entries if entry.cell is not None and entry.measure == "accuracy"
            ):
                told = map(_plain, (cell.lr, cell.beta, None, None))
                files = " ".join(str(record.file) for record in cell.records)
                rest = [*told, files, _mixed(cell)]
                for name, values in cost(cell).items():
                    if values:
                        spread = deviation(values) if len(values) > 1 else None
                        numbers = (*map(_plain, (mean(values), spread)), len(values), "")
                        writer.writerow([*setting, cell.method, name, *numbers, *rest])
    writer.writerows(line for one in comparisons for line in _comparison_lines(one))
    return out.getvalue()


def _comparison_lines(one: Comparison) -> Iterator[list[object]]:
    model, source, task = ("; ".join(one.pooled(part)) for part in ("model", "source", "eval"))
    setting = (model, one.adapter, one.label_source, one.n, source, task, "")
    low, high = one.test.interval or (None, None)
    numbers = {"difference": one.test.difference, "difference_low": low, "difference_high": high}
    theirs = {"t": one.paper.t, "p": one.paper.p}
    files = " ".join(str(record.file) for record in one.records)
    for name, value in (numbers | {"t": one.t, "p": one.test.p}).items():
        measured = (_plain(value), "", one.test.pairs, "", "", "", _plain(theirs.get(name)), "")
        yield [*setting, " less ".join(COMPARED), f"{one.measure}_{name}", *measured, files, ""]


def _mixed(cell: Cell | None) -> str:
    parts = differing(cell) if cell is not None else {}
    return "; ".join(f"{name}: {', '.join(values)}" for name, values in parts.items())


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
