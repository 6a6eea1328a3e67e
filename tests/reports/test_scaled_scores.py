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
        "method", "T", "ECE", "scaled ECE", "NLL", "scaled NLL", "Brier", "scaled Brier"
    ]  # fmt: skip
    assert table.texts[0][2:] == ["ICL", "2.00", "0.200", "0.100", "0.700", "0.600", "0.400", "0.300"]
    assert table.texts[1][5] == "0.200 (0.141)"


def test_csv_has_a_line_for_each_score_that_no_other_table_has():
    lines = csv.DictReader(io.StringIO(rendered("fake", scaled_scores(cells([scored("sft")])), "csv", [])))
    assert [line["measure"] for line in lines] == list(SCORES)


def test_records_without_a_temperature_have_no_such_table():
    assert scaled_scores(cells([record("sft", 0.5), scored("ia2", temperature=None, scaled_nll=None)])) == []
