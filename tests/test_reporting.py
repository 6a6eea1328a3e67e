from study_records import record, write_study

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
