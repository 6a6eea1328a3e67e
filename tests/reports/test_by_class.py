from study_records import LORA, changed, record, write_study

from ia2.reports.aggregate import cells
from ia2.reports.by_class import by_class
from ia2.reports.report import StudyReport

CLASSES = [
    {"label": " good", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "n": 2},
    {"label": " bad", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "n": 1},
]
MEASURED = {"nll": 0.7, "classes": CLASSES, "confusion": [[1, 1], [0, 1]]}


def measured(method, **more):
    return changed(record(method, 0.5, **more), metrics=MEASURED)


def test_each_measurement_has_its_classes_and_what_was_taken_for_what():
    icl, sft = by_class(cells([measured("sft"), measured("icl")]))
    assert (icl.heading, sft.heading) == ("ICL on sst2", "SFT on sst2")
    classes, confusion = sft.tables
    assert classes.headings == ["label", "precision", "recall", "F1", "n"]
    assert classes.texts == [["good", "1.000", "0.500", "0.667", "2"], ["bad", "0.500", "1.000", "0.667", "1"]]
    assert confusion.headings == ["correct label", "good", "bad"]
    assert confusion.texts == [["good", "1", "1"], ["bad", "0", "1"]]


def test_of_too_many_labels_for_a_matrix_there_are_the_classes_alone():
    (sft,) = by_class(cells([changed(measured("sft"), metrics={"confusion": None})]))
    (classes,) = sft.tables
    assert classes.headings == ["label", "precision", "recall", "F1", "n"]


def test_a_baseline_stands_once_and_adapters_of_one_method_are_told_apart():
    small = {**LORA, "rank": 4}
    records = [measured("icl"), measured("sft"), changed(measured("sft", adapter=small), file="records/u/other.json")]
    headings = sorted(classes.heading for classes in by_class(cells(records)))
    assert headings == [
        "ICL on sst2",
        "SFT, lora r4 α8, ground-truth on sst2",
        "SFT, lora, ground-truth on sst2",
    ]


def test_larger_studies_and_records_without_classes_have_none():
    assert by_class(cells([measured("sft"), measured("sft", seed=1)])) == ()
    assert by_class(cells([record("sft", 0.5)])) == ()
    assert by_class([]) == ()


def test_the_page_of_one_unit_shows_its_classes(tmp_path):
    folder = write_study(tmp_path / "one", [measured("icl"), measured("sft")], sets=1)
    text = StudyReport.of(folder, with_paper=False).page(tmp_path)
    assert "<summary>ICL on sst2</summary>" in text
    assert (
        '<th scope="row" data-value="bad"><span>bad</span></th><td class="number" data-value="0.5">0.500</td>' in text
    )
    several = write_study(tmp_path / "two", [measured("sft"), measured("sft", seed=1)])
    assert "By class" not in StudyReport.of(several, with_paper=False).page(tmp_path)
