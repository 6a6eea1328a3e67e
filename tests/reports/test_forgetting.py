import csv
import io

from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.forgetting import forgetting
from ia2.reports.renderings import rendered


def forgot(seed, kept, likelihood):
    metrics = {
        "forgetting": [{"task": "agnews", "n": 10, "accuracy": kept, "accuracy_without": 0.5}],
        "held_tokens": 90,
        "held_log_likelihood": likelihood,
        "held_log_likelihood_without": -3.0,
    }
    return changed(record("sft", 0.5, seed=seed), metrics=metrics)


def test_changes_are_means_over_sets_with_their_deviation():
    # changes of -20 and 0 points: deviation 20/√2; of -0.5 and -0.3 nats: 0.2/√2
    records = [forgot(0, 0.3, -3.5), forgot(1, 0.5, -3.3), record("icl", 0.5)]
    tasks, texts = forgetting(cells(records))
    assert tasks.headings == ["adapter", "N", "method", "other task", "without %", "with %", "change"]
    assert tasks.texts == [["lora", "4", "SFT", "agnews", "50.0", "40.0", "-10.0 (14.1)"]]
    assert texts.headings[2:] == ["method", "tokens", "without", "with", "change"]
    assert texts.texts == [["lora", "4", "SFT", "90", "-3.000", "-3.400", "-0.400 (0.141)"]]


def test_csv_has_a_line_for_each_change():
    tables = forgetting(cells([forgot(0, 0.3, -3.5)]))
    lines = list(csv.DictReader(io.StringIO(rendered("fake", tables, "csv", []))))
    assert [(line["measure"], line["mean"]) for line in lines] == [
        ("forgetting_agnews_change", "-20"), ("held_log_likelihood_change", "-0.5")
    ]  # fmt: skip


def test_records_without_it_have_no_such_tables():
    assert forgetting(cells([record("sft", 0.5)])) == []
