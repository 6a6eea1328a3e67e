import pytest
from study_records import record

from ia2.reports.aggregate import Setting, cells
from ia2.reports.formats import rendered
from ia2.reports.notes import explained
from ia2.reports.paper import Key, Paper, Printed
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


def test_a_table_in_the_papers_shape():
    (table,) = study_tables(cells(RECORDS))
    assert table.title == "small, lora, fine-tuned on ground-truth labels"
    assert table.methods == ("icl", "sft", "ia2")
    text = rendered("fake", [table], "markdown", ["A note_with *marks*."])
    assert text.startswith("<!-- ia2 report -->\n\n# fake\n\n- A note\\_with \\*marks\\*.\n")
    assert markdown_cells(text, 1) == [
        "4", "sst2", "sst2",
        "50.0 (0.0)", "**0.20 (0.00)**", "**65.0 (7.1)**", "0.30 (0.00)", "**65.0 (0.0)**", "**0.20 (0.00)**",
    ]  # fmt: skip
    assert markdown_cells(text, 0)[2:7] == ["finsen\\*", "–", "–", "**45.0 (7.1)**", "**0.30 (0.00)**"]


def test_one_set_has_no_deviation_and_texts_have_no_ece():
    found = cells([record("sft", 0.5, ece=None)])
    (table,) = study_tables(found)
    assert table.headings == ["N", "source", "eval", "SFT acc"]
    assert table.lines[0].entries[0].text == "50.0 (–)"
    notes = " ".join(explained(found, "accuracy", [table], None))
    assert "One set, so no standard deviation" in notes
    assert "ECE" not in notes
    assert "*" not in notes


def test_the_papers_number_and_ours_less_it():
    found = cells(RECORDS)
    (table,) = study_tables(found, PAPER)
    assert markdown_cells(rendered("fake", [table], "markdown", []), 1)[5] == "**65.0 (7.1)** [paper 70.5, -5.5]"
    notes = " ".join(explained(found, "dev", [table], PAPER))
    assert "1 of 12 numbers have the paper's beside them" in notes
    assert "lowest mean dev loss" in notes
    assert "over 2 sets" in notes
    assert "15 equal-width bins" in notes
    assert "* marks a task" in notes


def test_where_the_paper_has_nothing_that_is_said():
    found = cells(RECORDS)
    tables = study_tables(found, Paper({}))
    assert explained(found, "accuracy", tables, Paper({}))[-1].startswith("The paper printed none of these settings")


def test_what_was_done_as_the_scripts_do_it_is_said():
    plain, theirs = record("icl", 0.5), record("icl", 0.5, seed=1)
    theirs["options"] |= {"confidence": "top-10", "demonstrations": "resampled", "teacher_stop": "none"}
    theirs["options"] |= {"benchmark_options": {"text_limit": None}}
    usual = explained(cells([plain]), "accuracy", study_tables(cells([plain])), None)
    said = explained(cells([plain, theirs]), "accuracy", study_tables(cells([plain, theirs])), None)
    assert len(said) == len(usual) + 4
    assert "Queries are made with text_limit: None." in said


def test_numbers_of_fewer_sets_say_so_and_are_not_the_best_of_more():
    records = [record("icl", 0.6, seed=seed) for seed in range(3)] + [record("sft", 0.9, ece=0.0)]
    records += [record("sft", 0.9, eval="finsen")]
    found = cells(records)
    (table,) = study_tables(found, sets=3)
    alone, both = ([(entry.text, entry.best) for entry in line.entries] for line in table.lines)
    assert both == [("60.0 (0.0)", True), ("0.10 (0.00)", True), ("90.0 (–, 1/3)", False), ("0.00 (–, 1/3)", False)]
    assert alone[2:] == [("90.0 (–, 1/3)", True), ("0.10 (–, 1/3)", True)]
    (said,) = [note for note in explained(found, "accuracy", [table], None, 3) if "1/3" in note]
    assert "1 of the study's 3 sets" in said
    whole = cells(records[:3])
    assert not any("/3" in note for note in explained(whole, "accuracy", study_tables(whole, sets=3), None, 3))


def test_rows_evaluated_are_said():
    records = [record("sft", 0.5, eval=task, seed=seed) for task in ("sst2", "finsen") for seed in (0, 1)]
    for one, count in zip(records, (100, 100, 50, 80), strict=True):
        one["metrics"]["n"] = count
    found = cells(records)
    assert "Rows evaluated: finsen 50 to 80, sst2 100." in explained(found, "accuracy", study_tables(found), None)


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("model", "dtype", "bfloat16", "dtype (bfloat16, float32)"),
        ("model", "device", "cuda", "device (None, cuda)"),
        ("model", "sha256", "0123456789abcdef", "sha256 (0123456789ab, None)"),
        ("versions", "torch", "3", "torch (2, 3)"),
    ],
)
def test_what_one_number_was_made_with_differently_is_said(part, name, value, said):
    records = [record("sft", 0.5, seed=seed) for seed in (0, 1)] + [record("icl", 0.5, seed=seed) for seed in (0, 1)]
    records[0][part][name] = value
    records[2][part][name] = records[3][part][name] = value
    found = cells(records)
    told = explained(found, "accuracy", study_tables(found), None)
    assert f"The records of 1 of the tables' cells differ in {said}: SFT of small, lora, N = 4, on sst2." in told
    lines = rendered("fake", study_tables(found), "csv", []).splitlines()
    column, end = said.split(" (")
    assert [f"{column}: {end[:-1]}" in line for line in lines[1:]] == [False, False, True, True]
