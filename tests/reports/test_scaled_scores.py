import csv
import io

from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.renderings import rendered
from ia2.reports.scaled_scores import SCORES, scaled_scores

MEASURED = {
    "label_ece": 0.2, "scaled_ece": 0.1, "nll": 0.7, "scaled_nll": 0.6, "brier": 0.4, "scaled_brier": 0.3,
    "temperature": 2.0,
}  # fmt: skip


def scored(method, seed=0, **more):
    return changed(record(method, 0.5, seed=seed), metrics=MEASURED | more)


def test_scores_before_and_after_scaling_stand_side_by_side():
    # ECE of 0.1 and 0.3: deviation 0.2/√2
    records = [scored("sft"), scored("sft", 1, scaled_ece=0.3), scored("icl")]
    (table,) = scaled_scores(cells(records))
    assert table.headings[2:] == [
        "method", "sets", "T", "ECE", "scaled ECE", "NLL", "scaled NLL", "Brier", "scaled Brier"
    ]  # fmt: skip
    assert table.texts[0][2:] == ["ICL", "1", "2.00", "0.200", "0.100", "0.700", "0.600", "0.400", "0.300"]
    assert table.texts[1][6] == "0.200 (0.141)"


def test_all_means_are_over_the_sets_that_have_a_temperature():
    without = {name: None for name in MEASURED if name.startswith("scaled")} | {"temperature": None, "label_ece": 0.9}
    records = [scored("sft"), scored("sft", 1, **without), scored("sft", 2, label_ece=0.4)]
    (table,) = scaled_scores(cells(records))
    # ECE of 0.2 and 0.4, not the 0.9 that has nothing beside it: deviation 0.2/√2
    assert table.texts[0][2:6] == ["SFT", "2", "2.00 (0.00)", "0.300 (0.141)"]
    number = table.rows[0][4].number
    assert [record.seed for record in number.records] == [0, 2]


def test_csv_has_a_line_for_each_score_that_no_other_table_has():
    lines = csv.DictReader(io.StringIO(rendered("fake", scaled_scores(cells([scored("sft")])), "csv", [])))
    assert [line["measure"] for line in lines] == list(SCORES)


def test_records_without_a_temperature_have_no_such_table():
    assert scaled_scores(cells([record("sft", 0.5), scored("ia2", temperature=None, scaled_nll=None)])) == []
