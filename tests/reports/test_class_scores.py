import csv
import io

from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.class_scores import class_scores
from ia2.reports.renderings import rendered

SCORES = {"macro_f1": 0.5, "balanced_accuracy": 0.6, "nll": 0.7, "brier": 0.4}


def scored(method, seed=0, more=SCORES, **changes):
    return changed(record(method, 0.5, seed=seed, **changes), metrics=more)


def test_scores_are_means_over_sets_with_their_deviation():
    # macro-F1 of 50 and 60: deviation 10/√2; NLL of 0.7 and 0.9: 0.2/√2
    records = [scored("sft"), scored("sft", 1, SCORES | {"macro_f1": 0.6, "nll": 0.9}), scored("zero-shot")]
    (table,) = class_scores(cells(records))
    assert table.title == "small: class scores and probabilities"
    assert table.headings == ["adapter", "N", "method", "sets", "macro-F1 %", "balanced %", "NLL", "Brier"]
    assert table.texts == [
        ["lora", "4", "zero-shot", "1", "50.0", "60.0", "0.700", "0.400"],
        ["lora", "4", "SFT", "2", "55.0 (7.1)", "60.0 (0.0)", "0.800 (0.141)", "0.400 (0.000)"],
    ]


def test_csv_has_a_line_for_each_score():
    records = [scored("sft"), scored("sft", 1, SCORES | {"nll": 0.9})]
    lines = list(csv.DictReader(io.StringIO(rendered("fake", class_scores(cells(records)), "csv", []))))
    assert [line["measure"] for line in lines] == list(SCORES)
    nll = lines[2]
    assert (nll["method"], nll["mean"], nll["std"], nll["sets"], nll["lr"]) == ("sft", "0.8", "0.141421", "2", "0.001")
    assert nll["records"].split() == [one.file for one in records]


def test_records_of_before_and_of_free_text_have_no_such_table():
    assert class_scores(cells([record("sft", 0.5), scored("ia2", more=dict.fromkeys(SCORES))])) == []
    # a record of before, beside another, isn't there
    (table,) = class_scores(cells([record("icl", 0.5), scored("sft")]))
    assert [row[2] for row in table.texts] == ["SFT"]
