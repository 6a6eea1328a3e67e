import pytest
from study_records import record, write_study

from ia2.errors import InputError
from ia2.reporting import StudyReport


def test_two_models_whose_files_have_one_name_are_not_taken_for_one(tmp_path):
    records = [
        record("sft", value, seed=seed, model=model)
        for model, value in (("models/a/model.gguf", 0.5), ("models/b/model.gguf", 0.9))
        for seed in (0, 1)
    ]
    for one in records:
        one["model"]["id"] = "model.gguf"
    folder = write_study(tmp_path, records, models=["models/a/model.gguf", "models/b/model.gguf"], methods=["sft"])
    report = StudyReport.of(folder, with_paper=False)
    assert [table.title.partition(",")[0] for table in report.tables] == ["models/a/model.gguf", "models/b/model.gguf"]
    assert [table.lines[0].entries[0].text for table in report.tables] == ["50.0 (0.0)", "90.0 (0.0)"]


def test_what_diverged_is_said_beside_what_is_left(tmp_path):
    gone = record("sft", None, lr=1.0, ece=None)
    folder = write_study(tmp_path / "one", [gone, record("sft", 0.5, lr=1e-3)], sets=1, methods=["sft"])
    report = StudyReport.of(folder, with_paper=False)
    assert any(note.startswith("SFT with lora at learning rate 1 diverged in 1 of 1 sets.") for note in report.notes)
    assert report.tables[0].lines[0].entries[0].text == "50.0 (–)"
    with pytest.raises(InputError, match="the training of every adapter diverged"):
        StudyReport.of(write_study(tmp_path / "none", [gone], sets=1, methods=["sft"]), with_paper=False)
