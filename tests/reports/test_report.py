import pytest
from study_records import changed, diverged, record, write_study

from ia2.errors import InputError
from ia2.reports.report import StudyReport

# a's third set and the model b are of an earlier, larger study
SETS = [("a", 0, 0.5), ("a", 1, 0.6), ("a", 2, 0.9), ("b", 0, 0.9)]


def test_two_models_whose_files_have_one_name_are_not_taken_for_one(tmp_path):
    records = [
        changed(record("sft", value, seed=seed, model=model), model={"id": "model.gguf"})
        for model, value in (("models/a/model.gguf", 0.5), ("models/b/model.gguf", 0.9))
        for seed in (0, 1)
    ]
    folder = write_study(tmp_path, records, models=["models/a/model.gguf", "models/b/model.gguf"], methods=["sft"])
    report = StudyReport.of(folder, with_paper=False)
    assert [table.title.partition(",")[0] for table in report.tables] == ["models/a/model.gguf", "models/b/model.gguf"]
    assert [table.lines[0].entries[0].text for table in report.tables] == ["50.0 (0.0)", "90.0 (0.0)"]


def test_what_the_study_no_longer_plans_is_left_out_and_said(tmp_path):
    records = [
        changed(record("sft", value, seed=seed, model=model), model={"id": "model.gguf"}) for model, seed, value in SETS
    ]
    folder = write_study(tmp_path, records, models=["a"], sets=2, methods=["sft"])
    (folder / "failures").mkdir()
    for unit in ("a-sst2-n4-set1", "b-sst2-n4-set1"):
        (folder / "failures" / f"{unit}.json").write_text('{"error": "ValueError"}')
    report = StudyReport.of(folder, with_paper=False)
    assert list(report.failures) == ["a-sst2-n4-set1"]
    (table,) = report.tables
    assert (table.title.partition(",")[0], table.lines[0].entries[0].text) == ("a", "55.0 (7.1)")
    assert "Records of units that the study no longer plans are left out (2)." in report.notes


def test_what_is_half_written_is_passed_over(tmp_path):
    one = record("sft", 0.5)
    folder = write_study(tmp_path, [one])
    (folder / one.file).with_name(".partial-1234-sft.json").write_text('{"method": "s')
    assert len(StudyReport.of(folder, with_paper=False).cells) == 1


def test_a_study_in_which_everything_diverged_has_a_report(tmp_path):
    folder = write_study(tmp_path, [diverged("sft", seed=seed) for seed in (0, 1)])
    report = StudyReport.of(folder, with_paper=False)
    assert (report.tables, list(report.figures)) == ((), [])
    assert any("diverged on 2 of 2 sets" in note for note in report.notes)


def unmeasured(method):
    """A record for which no row was left."""
    return changed(record(method, 0.0), metrics={"n": 0, "accuracy": None, "ece": None, "asim": None})


def test_what_had_no_row_to_be_measured_on_is_left_out_and_said(tmp_path):
    folder = write_study(tmp_path / "a", [record("sft", 0.5), unmeasured("ia2")], sets=1)
    report = StudyReport.of(folder, with_paper=False)
    assert [table.methods for table in report.tables] == [("sft",)]
    assert "No rows were left to evaluate for 1 of the records." in report.notes
    folder = write_study(tmp_path / "b", [unmeasured("sft")], sets=1)
    with pytest.raises(InputError, match="nothing was measured, as no rows were left"):
        StudyReport.of(folder, with_paper=False)


def test_sets_that_chose_rates_of_their_own_are_one_number(tmp_path):
    records = [
        record("sft", accuracy, seed=seed, lr=lr, dev_loss=0.1)
        for seed, (accuracy, lr) in enumerate([(0.5, 1e-3), (0.7, 1e-4)])
    ]
    changes = {"methods": ["sft"], "select": "dev", "measure": "chosen"}
    report = StudyReport.of(write_study(tmp_path / "a", records, **changes), with_paper=False)
    assert report.tables[0].lines[0].entries[0].text == "60.0 (14.1)"
    assert report.first.startswith("This study measured SFT on sst2 with small, N = 4, over two sets")
    assert report.first in report.text("markdown")
    assert f'<p class="first">{report.first}</p>' in report.page(tmp_path)
    assert "In each set, learning rate and β are those with the lowest dev loss." in report.notes
    # of a single set it is told
    report = StudyReport.of(write_study(tmp_path / "b", records[:1], **changes, sets=1), with_paper=False)
    assert report.cells[0].lr == 1e-3


def test_rates_that_each_set_has_for_itself_are_not_said_to_be_of_all_sets(tmp_path):
    records = [record("sft", 0.5, seed=seed, lr=lr, dev_loss=0.1) for seed, lr in ((0, 1e-3), (1, 1e-4))]
    folder = write_study(tmp_path, records, methods=["sft"], select="dev", measure="chosen")
    notes = StudyReport.of(folder, with_paper=False).notes
    assert [note for note in notes if "earning rate" in note] == [
        "In each set, learning rate and β are those with the lowest dev loss."
    ]


@pytest.mark.parametrize("kind", ["markdown", "latex"])
def test_a_persons_pictures_are_not_written_over(tmp_path, kind):
    report = StudyReport.of(write_study(tmp_path / "study", [record("sft", 0.5)]), with_paper=False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "figure1.png").write_bytes(b"a person's")
    with pytest.raises(InputError, match=r"figure1\.png: this is not a figure of an ia2 report"):
        report.write(out, kind)
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("figure1.png", b"a person's")]
    (out / "figure1.png").unlink()
    written = report.write(out, kind)
    # those of a report are replaced by the next one's, in whatever format
    assert report.write(out, "latex" if kind == "markdown" else "markdown")[1:] == written[1:]


def test_records_that_are_kept_of_another_study_are_not_written_over(tmp_path):
    def report(name):
        return StudyReport.of(write_study(tmp_path / name, [record("sft", 0.5)], name=name), with_paper=False)

    kept = report("first").keep_records(tmp_path / "out").read_bytes()
    with pytest.raises(InputError, match=r"records\.jsonl\.gz: this holds the records of the study first"):
        report("second").keep_records(tmp_path / "out")
    assert report("first").keep_records(tmp_path / "out").read_bytes() == kept
