from study_records import record

from ia2.reports.aggregate import Setting, cells
from ia2.reports.captions import explained
from ia2.reports.paper import Key, Paper, Printed
from ia2.reports.renderings import rendered
from ia2.reports.study import study_tables

# icl 50.0 and ECE 0.20; sft (0.6, 0.7): 65.0, deviation 0.1/√2 = 7.07; ia2 (0.65, 0.65): 65.0, none
RECORDS = [
    *(record("sft", value, seed=seed, ece=0.3) for seed, value in enumerate((0.6, 0.7))),
    *(record("ia2", 0.65, seed=seed, labels=None, ece=0.204) for seed in (0, 1)),
    *(record("icl", 0.5, seed=seed, ece=0.2) for seed in (0, 1)),
    *(record("sft", value, seed=seed, eval="finsen", ece=0.3) for seed, value in enumerate((0.4, 0.5))),
]
KEY = Key.of(Setting("small", "lora", "ground-truth", 4, "sst2", "sst2"), "sft")
PAPER = Paper({KEY: Printed(70.5, None)})


def markdown_cells(text, row):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [cell.strip() for cell in lines[2 + row].strip("|").split("|")]


def test_a_table_has_a_row_for_each_method_in_a_group_for_each_setting():
    (table,) = study_tables(cells(RECORDS))
    assert table.title == "small, lora, fine-tuned on ground-truth labels"
    assert table.methods == ("icl", "sft", "ia2")
    text = rendered("fake", [table.table], "markdown", ["A note_with *marks*."])
    assert text.startswith("<!-- ia2 report -->\n\n# fake\n\n- A note\\_with \\*marks\\*.\n")
    assert [markdown_cells(text, row) for row in range(6)] == [
        ["4", "sst2", "finsen\\*", "ICL", "–", "–"],
        ["4", "sst2", "finsen\\*", "SFT", "**45.0 (7.1)**", "**0.30 (0.00)**"],
        ["4", "sst2", "finsen\\*", "IA2", "–", "–"],
        ["4", "sst2", "sst2", "ICL", "50.0 (0.0)", "0.20 (0.00)"],
        ["4", "sst2", "sst2", "SFT", "**65.0 (7.1)**", "0.30 (0.00)"],
        ["4", "sst2", "sst2", "IA2", "**65.0 (0.0)**", "**0.20 (0.00)**"],
    ]
    assert [group.heading for group in table.table.groups] == [
        "N = 4 · source sst2 · eval finsen*",
        "N = 4 · source sst2 · eval sst2",
    ]
    assert [row[0].text for row in table.table.groups[1].rows] == ["ICL", "SFT", "IA2"]


def test_the_papers_shape_has_a_row_for_each_setting():
    (table,) = study_tables(cells(RECORDS))
    assert markdown_cells(rendered("fake", [table.papers_shape], "markdown", []), 1) == [
        "4", "sst2", "sst2",
        "50.0 (0.0)", "0.20 (0.00)", "**65.0 (7.1)**", "0.30 (0.00)", "**65.0 (0.0)**", "**0.20 (0.00)**",
    ]  # fmt: skip


def test_one_set_has_no_deviation_and_texts_have_no_ece():
    found = cells([record("sft", 0.5, ece=None)])
    (table,) = study_tables(found)
    assert table.table.headings == ["N", "source", "eval", "method", "acc %"]
    assert table.lines[0].entries[0].text == "50.0"
    notes = " ".join(explained(found, "accuracy", [table], None))
    assert "One set, so there is no standard deviation" in notes
    assert "ECE" not in notes
    assert "*" not in notes


def test_beside_the_papers_deviation_ours_has_its_divisor():
    # 0.6 and 0.7: a deviation of 5 by n, and of 7.1 by n - 1
    setting = cells([record("sft", 0.6)])[0].setting
    paper = Paper({Key.of(setting, "sft"): Printed(70.5, None, 4.25)})
    found = cells([record("sft", value, seed=seed) for seed, value in enumerate((0.6, 0.7))])
    (with_paper,), (without,) = study_tables(found, paper), study_tables(found)
    assert with_paper.table.texts[0][4] == "65.0 (5.0)"
    assert with_paper.table.rows[0][4].beside == "paper 70.5 (4.2), -5.5"
    assert with_paper.table.rows[0][4].number.paper_spread == 4.25
    assert without.table.texts[0][4] == "65.0 (7.1)"
    assert "(standard deviation with divisor n, as in the paper)" in explained(found, "dev", [with_paper], paper)[0]
    assert "(standard deviation with divisor n - 1)" in explained(found, "dev", [without], None)[0]


def test_the_papers_number_and_ours_less_it():
    found = cells(RECORDS)
    (table,) = study_tables(found, PAPER)
    assert markdown_cells(rendered("fake", [table.table], "markdown", []), 4)[4] == "**65.0 (5.0)** [paper 70.5, -5.5]"
    notes = " ".join(explained(found, "dev", [table], PAPER))
    assert "1 of 12 numbers have the paper's mean (standard deviation) beside them" in notes
    assert "lowest mean dev loss" in notes
    assert "over 2 sets" in notes
    assert "15 equal-width bins" in notes
    assert "* marks tasks" in notes


def test_where_the_paper_has_nothing_that_is_said():
    found = cells(RECORDS)
    tables = study_tables(found, Paper({}))
    assert explained(found, "accuracy", tables, Paper({}))[-1].startswith("The paper has none of these settings")


def test_numbers_of_fewer_sets_say_so_and_are_not_the_best_of_more():
    records = [record("icl", 0.6, seed=seed) for seed in range(3)] + [record("sft", 0.9, ece=0.0)]
    records += [record("sft", 0.9, eval="finsen")]
    found = cells(records)
    (table,) = study_tables(found, sets=3)
    alone, both = ([(entry.text, entry.best) for entry in line.entries] for line in table.lines)
    assert both == [("60.0 (0.0)", True), ("0.10 (0.00)", True), ("90.0 (1/3)", False), ("0.00 (1/3)", False)]
    assert alone[2:] == [("90.0 (1/3)", True), ("0.10 (1/3)", True)]
    (said,) = [note for note in explained(found, "accuracy", [table], None, 3) if "1/3" in note]
    assert "1 of the study's 3 sets" in said
    whole = cells(records[:3])
    notes = " ".join(explained(whole, "accuracy", study_tables(whole, sets=3), None, 3))
    assert "over 3 sets" in notes
    assert "/3" not in notes


def test_the_best_calibrated_is_among_those_as_accurate_as_the_best():
    # of zero-shot nothing is right; SFT is 0.01 and 0.03 below IA2, a mean of 0.02 with an error of 0.01
    records = [
        record(method, value, seed=seed, ece=error)
        for method, values, error in (
            ("zero-shot", (0.0, 0.0), 0.0),
            ("sft", (0.69, 0.67), 0.1),
            ("ia2", (0.7, 0.7), 0.3),
            ("ia2-sft", (0.71, 0.685), 0.2),
        )
        for seed, value in enumerate(values)
    ]
    found = cells(records)
    (table,) = study_tables(found)
    best = [entry.best for entry in table.lines[0].entries[1::2]]
    assert dict(zip(table.methods, best, strict=True)) == {
        "zero-shot": False, "sft": False, "ia2": False, "ia2-sft": True,
    }  # fmt: skip
    assert any(note.startswith("A bold ECE is the lowest among") for note in explained(found, "dev", [table], None))
