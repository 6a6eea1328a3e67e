import io

import polars as pl
import pytest
from conftest import study_record as record

from ia2.reports.aggregate import cells
from ia2.reports.study import html_table, rendered, study_tables


@pytest.fixture
def tables():
    return study_tables(
        cells(
            [
                record("icl", 0, 0.5, adapter=None, ece=0.3), record("icl", 1, 0.7, adapter=None, ece=0.2),
                record("sft", 0, 0.6), record("sft", 1, 0.6), record("ia2-sft", 0, 0.55), record("ia2-sft", 1, 0.75),
                record("sft", 0, 0.4, task="b_c", ece=None),
            ]
        )
    )  # fmt: skip


def test_a_row_holds_mean_and_deviation_and_the_best_of_it_is_bold(tables):
    (table,) = tables
    assert table.title == "m, lora, fine-tuned on ground-truth labels"
    assert table.methods == ("icl", "sft", "ia2-sft")
    at_home, other = table.lines
    assert [entry.text for entry in at_home.entries] == [
        "60.0 (14.1)", "0.25 (0.07)", "60.0 (0.0)", "0.10 (0.00)", "65.0 (14.1)", "0.10 (0.00)"
    ]  # fmt: skip
    # equals are bold together
    assert [entry.best for entry in at_home.entries] == [False, False, False, True, True, True]
    assert [entry.text for entry in other.entries] == ["–", "–", "40.0 (0.0)", "–", "–", "–"]
    assert at_home.entries[0].files == ("records/icl-0-0.001-a.json", "records/icl-1-0.001-a.json")


def test_markdown_stars_what_was_not_trained_on(tables):
    lines = rendered(tables, "markdown", "Read so.").splitlines()
    assert lines[0] == "Read so."
    assert lines[4] == "| N | source | eval | ICL acc | ICL ECE | SFT acc | SFT ECE | IA2→SFT acc | IA2→SFT ECE |"
    assert lines[6].startswith("| 4 | a | a | 60.0 (14.1) | 0.25 (0.07) | 60.0 (0.0) | **0.10 (0.00)** |")
    assert lines[7].startswith("| 4 | a | b_c* | – | – | **40.0 (0.0)** |")


def test_csv_can_be_read_again(tables):
    frame = pl.read_csv(io.StringIO(rendered(tables, "csv", "")))
    own = frame.filter((pl.col("method") == "ia2-sft") & (pl.col("measure") == "accuracy") & (pl.col("eval") == "a"))
    assert own["value"].to_list() == ["65.0 (14.1)"]
    assert own["best"].to_list() == ["True"] or own["best"].to_list() == [True]
    assert len(own["records"].item().split()) == 2


def test_latex_escapes_and_has_as_many_cells_as_columns(tables):
    text = rendered(tables, "latex", "Read so.")
    assert text.startswith("% Read so.\n")
    assert all(part in text for part in ("b\\_c*", "IA2$\\to$SFT acc", "\\textbf{65.0 (14.1)}"))
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert {line.count(" & ") for line in rows} == {8}


def test_html_leads_to_the_records(tables):
    text = html_table(tables[0], "../study")
    assert 'href="../study/records/icl-0-0.001-a.json"' in text
    assert "<b>65.0 (14.1)</b>" in text


def test_the_papers_number_stands_beside_ours():
    paper = {("m", "lora", "ground-truth", 4, "a", "a", "sft"): (50.0, 0.3)}
    (table,) = study_tables(cells([record("sft", 0, 0.6)]), paper)
    assert table.lines[0].entries[0].difference == pytest.approx(10.0)
    assert "[paper 50, +10.00]" in rendered([table], "markdown", "")
