import pytest
from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.captions import explained
from ia2.reports.renderings import rendered
from ia2.reports.study import study_tables


def test_what_was_done_as_the_scripts_do_it_is_said():
    plain, theirs = record("icl", 0.5), record("icl", 0.5, seed=1)
    theirs = changed(theirs, options={"confidence": "top-10", "demonstrations": "resampled", "teacher_stop": "none"})
    theirs = changed(theirs, options={"benchmark_options": {"text_limit": None}})
    usual = explained(cells([plain]), "accuracy", study_tables(cells([plain])), None)
    said = explained(cells([plain, theirs]), "accuracy", study_tables(cells([plain, theirs])), None)
    assert len(said) == len(usual) + 4
    assert "Task options: text_limit: None." in said


def test_rows_evaluated_are_said():
    places = [(task, seed) for task in ("sst2", "finsen") for seed in (0, 1)]
    records = [
        changed(record("sft", 0.5, eval=task, seed=seed), metrics={"n": count})
        for (task, seed), count in zip(places, (100, 100, 50, 80), strict=True)
    ]
    found = cells(records)
    assert "Evaluation rows: 50 to 80 of finsen, 100 of sst2." in explained(
        found, "accuracy", study_tables(found), None
    )


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
    records = [changed(one, **{part: {name: value}}) if place != 1 else one for place, one in enumerate(records)]
    found = cells(records)
    told = explained(found, "accuracy", study_tables(found), None)
    assert (
        f"Records that differ in {said} are averaged in 1 of the tables' cells: SFT of small, lora, N = 4, on sst2."
        in told
    )
    lines = rendered("fake", [one.table for one in study_tables(found)], "csv", []).splitlines()
    column, end = said.split(" (")
    assert [f"{column}: {end[:-1]}" in line for line in lines[1:]] == [False, False, True, True]
