import csv
import io

import pytest
from rich.console import Console
from study_records import changed, record

from ia2.reports.aggregate import Setting, cells
from ia2.reports.comparisons import compared
from ia2.reports.costs import costs
from ia2.reports.paper import Key, Paper, Printed
from ia2.reports.renderings import STARTS, illustrated, in_terminal, rendered
from ia2.reports.significance_table import comparison
from ia2.reports.study import study_tables
from ia2.reports.table import Cell, Column, Table

# icl 50.0 and ECE 0.20; sft (0.6, 0.7): 65.0, deviation 0.1/√2 = 7.07; ia2 (0.65, 0.65): 65.0, none
RECORDS = [
    *(record("sft", value, seed=seed, ece=0.3) for seed, value in enumerate((0.6, 0.7))),
    *(record("ia2", 0.65, seed=seed, labels=None, ece=0.204) for seed in (0, 1)),
    *(record("icl", 0.5, seed=seed, ece=0.2) for seed in (0, 1)),
    *(record("sft", value, seed=seed, eval="finsen", ece=0.3) for seed, value in enumerate((0.4, 0.5))),
]
KEY = Key.of(Setting("small", "lora", "ground-truth", 4, "sst2", "sst2"), "sft")
PAPER = Paper({KEY: Printed(70.5, None)})


PLAIN = Table.of("a_title", "100 % read.", (Column("β_1"), Column("n", ".1f")), (("x_y", 1.0), ("IA2→SFT", None)))


def test_a_table_in_markdown():
    text = rendered("fake", [PLAIN], "markdown", [])
    assert text == (
        "<!-- ia2 report -->\n\n# fake\n\n\n\n## a\\_title\n\n100 % read.\n\n"
        "| β\\_1 | n |\n| --- | ---: |\n| x\\_y | 1.0 |\n| IA2→SFT | – |\n"
    )


def test_a_table_in_latex():
    text = rendered("fake", [PLAIN], "latex", [])
    assert "\\begin{longtable}{lr}\n\\caption{a\\_title. 100 \\% read.}\\\\\n\\toprule\n" in text
    assert "$\\beta$\\_1 & n \\\\\n\\midrule\n\\endhead\nx\\_y & 1.0 \\\\\nIA2$\\to$SFT & -- \\\\\n\\bottomrule" in text


SHOWN = Table(
    "[b]title[/b]",
    "Read [it].",
    (Column("name"), Column("acc", ".1f", over="IA2")),
    ((Cell("[red]x", "x"), Cell("50.0 [1, 2]", 50.0, best=True, beside="paper 70.5")),),
)


def test_a_table_in_the_terminal_is_aligned_and_its_marks_are_text():
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(in_terminal(SHOWN, console.width))
    styled = console.export_text(clear=False, styles=True)
    lines = console.export_text().splitlines()
    assert lines[0].strip() == "[b]title[/b]"
    assert lines[2] == "┃ name   ┃                  IA2 acc ┃"
    assert lines[4] == "│ [red]x │ 50.0 [1, 2] [paper 70.5] │"
    assert lines[-1].strip() == "Read [it]."
    assert "\x1b[1m50.0 [1, 2]\x1b[0m [paper 70.5]" in styled


def test_what_stands_beside_a_number_is_not_bold():
    assert "**50.0 \\[1, 2]** [paper 70.5] |" in rendered("fake", [SHOWN], "markdown", [])
    assert "\\textbf{50.0 [1, 2]} [paper 70.5] \\\\" in rendered("fake", [SHOWN], "latex", [])


def test_latex_is_safe_and_bold():
    (table,) = study_tables(cells([record("ia2-sft", 0.5, model="a_b%c\\d")]))
    text = rendered("fake", [table.papers_shape], "latex", ["one\nline"])
    assert text.startswith("% ia2 report\n% fake\n% one line\n")
    assert "\\caption{a\\_b\\%c\\textbackslash{}d, lora, fine-tuned on ground-truth labels. Bold: highest" in text
    assert (
        " & & & \\multicolumn{2}{c}{IA2$\\to$SFT} \\\\\n\\cmidrule(lr){4-5}\n"
        "N & source & eval & acc \\% $\\uparrow$ & ECE $\\downarrow$ \\\\\n"
    ) in text
    assert "4 & sst2 & sst2 & \\textbf{50.0} & \\textbf{0.10} \\\\" in text


def test_csv_has_a_line_for_each_number():
    text = rendered("fake", [one.table for one in study_tables(cells(RECORDS), PAPER)], "csv", ["not in here"])
    assert text.startswith(STARTS["csv"] + ",")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * 3 * 2  # and nothing of asim, steps or seconds, which these records don't have
    row = next(row for row in rows if (row["eval"], row["method"], row["measure"]) == ("sst2", "sft", "accuracy"))
    assert (row["mean"], row["std"], row["sets"], row["best"]) == ("65", "5", "2", "True")
    assert (row["lr"], row["beta"], row["paper"], row["difference"]) == ("0.001", "", "70.5", "-5.5")
    assert row["records"].split() == [one.file for one in RECORDS[:2]]
    ece = next(row for row in rows if (row["eval"], row["method"], row["measure"]) == ("sst2", "ia2", "ece"))
    assert ece["mean"] == "0.204"
    missing = next(row for row in rows if (row["eval"], row["method"]) == ("finsen", "icl"))
    assert (missing["mean"], missing["sets"], missing["ood"]) == ("", "0", "True")


def test_figures_stand_at_the_end():
    figures = [("One_1: β", "A caption.", "figure1.png")]
    assert illustrated("text\n", "markdown", figures) == (
        "text\n\n## One\\_1: β\n\n![One\\_1: β](figure1.png)\n\nA caption.\n"
    )
    text = illustrated("text\n", "latex", figures)
    assert text.startswith("text\n\n\\begin{figure}\n")
    assert "{figure1.png}\n\\caption{One\\_1: $\\beta$. A caption.}\n\\end{figure}\n" in text
    assert illustrated("text\n", "latex", []) == "text\n"


def test_a_name_that_is_a_formula_is_shown_by_a_spreadsheet_and_not_run():
    records = [record("sft", 0.5, model="=cmd|'/C calc'!A0", seed=seed) for seed in (0, 1)]
    text = rendered("fake", [one.table for one in study_tables(cells(records), PAPER)], "csv", [])
    names = {row["model"] for row in csv.DictReader(io.StringIO(text))}
    assert names == {"'=cmd|'/C calc'!A0"}


def test_csv_has_costs_in_lines_of_their_own():
    made = changed(
        record("sft", 0.5), metrics={"asim": 0.75}, stages=[{"steps": 3}, {"steps": 4}], seconds={"train": 1.5}
    )
    found = cells([made])
    tables = [*(one.table for one in study_tables(found)), *costs(found)]
    rows = list(csv.DictReader(io.StringIO(rendered("fake", tables, "csv", []))))
    assert [(row["measure"], row["mean"], row["sets"]) for row in rows] == [
        ("accuracy", "50", "1"), ("ece", "0.1", "1"), ("asim", "0.75", "1"), ("steps", "7", "1"),
        ("train_seconds", "1.5", "1"),
    ]  # fmt: skip
    assert {row["lr"] for row in rows} == {"0.001"}
    assert {row["records"] for row in rows} == {made.file}


def test_csv_has_the_numbers_of_one_setting_together():
    made = [changed(record("sft", 0.5, eval=task), metrics={"asim": 0.75}) for task in ("finsen", "sst2")]
    found = cells(made)
    tables = [*(one.table for one in study_tables(found)), *costs(found)]
    rows = csv.DictReader(io.StringIO(rendered("fake", tables, "csv", [])))
    assert [(row["eval"], row["measure"]) for row in rows] == [
        (task, measure) for task in ("finsen", "sst2") for measure in ("accuracy", "ece", "asim")
    ]


def test_csv_has_comparisons_in_lines_of_their_own():
    made = [
        record(method, value, seed=seed, model=model, ece=None)
        for model in ("small", "large", "huge")
        for method, values in (("ia2-sft", (0.7, 0.9)), ("sft", (0.6, 0.6)))
        for seed, value in enumerate(values)
    ]
    tables = comparison(compared(cells(made)), "accuracy")
    rows = list(csv.DictReader(io.StringIO(rendered("fake", tables, "csv", []))))
    # differences of 10 and 30 points, each three times: mean 20, deviation 10 √(6/5), error 10/√5, so t = 2 √5;
    # Student's 97.5 % point of 5 degrees is 2.57058
    assert [(row["measure"], float(row["mean"]), row["sets"]) for row in rows] == [
        ("accuracy_difference", 20, "6"),
        ("accuracy_difference_low", pytest.approx(20 - 2.57058 * 10 / 5**0.5, abs=1e-3), "6"),
        ("accuracy_difference_high", pytest.approx(20 + 2.57058 * 10 / 5**0.5, abs=1e-3), "6"),
        ("accuracy_t", pytest.approx(2 * 5**0.5, abs=1e-4), "6"),
        ("accuracy_p", pytest.approx(0.00657, abs=1e-5), "6"),
        # over two sets, whose differences of 10 and 30 have the error 10: Student's 97.5 % point of 1 is 12.7062
        ("accuracy_by_set_low", pytest.approx(20 - 127.062, abs=1e-2), "2"),
        ("accuracy_by_set_high", pytest.approx(20 + 127.062, abs=1e-2), "2"),
        # two of four assignments of signs are as far; the means' deviation is √200, and two pairs find
        # 11.55 deviations four times in five
        ("accuracy_sign_flip_p", 0.5, "2"),
        ("accuracy_detectable", pytest.approx(11.5499 * 200**0.5, abs=1e-2), "2"),
    ]
    assert {(row["model"], row["adapter"], row["eval"], row["method"]) for row in rows} == {
        ("huge; large; small", "lora", "sst2", "ia2-sft minus sft")
    }
    assert set(rows[0]["records"].split()) == {one.file for one in made}


def test_what_a_study_came_to_stands_above_the_notes():
    text = rendered("fake", [PLAIN], "markdown", ["A note."], "It came to_this.")
    assert text.startswith("<!-- ia2 report -->\n\n# fake\n\nIt came to\\_this.\n\n- A note.\n")
    assert rendered("fake", [PLAIN], "latex", ["A note."], "It came.").startswith(
        "% ia2 report\n% fake\n% It came.\n% A note.\n"
    )
    assert "It came" not in rendered("fake", [PLAIN], "csv", [], "It came.")


def test_a_long_table_of_many_columns_has_smaller_letters_in_latex():
    narrow, wide = (Table.of("a", "", [Column("x")] * count, [["1"] * count]) for count in (13, 14))
    assert "{\\small\n\\begin{longtable}" in rendered("a", [narrow], "latex", [])
    assert "{\\scriptsize\n\\begin{longtable}" in rendered("a", [wide], "latex", [])
