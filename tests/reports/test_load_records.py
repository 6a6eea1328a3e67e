import json

import pytest
from study_records import diverged, record, write_study

from ia2.errors import InputError
from ia2.reports.report import StudyReport


def test_nothing_that_is_planned_is_told(tmp_path):
    folder = write_study(tmp_path, [record("sft", 0.5, model="other")])
    with pytest.raises(InputError, match="no records of the units that its study plans"):
        StudyReport.of(folder, with_paper=False)


@pytest.mark.parametrize(
    ("part", "name", "value", "told"),
    [
        ("options", "unit", None, "options.unit"),
        ("options", "set_n", None, "options.set_n"),
        ("metrics", "accuracy", None, "metrics.accuracy"),
        ("metrics", "accuracy", 2, "metrics.accuracy"),
        ("metrics", "ece", "low", "metrics.ece"),
        ("model", "id", None, "model.id"),
        (None, "metrics", None, "metrics.accuracy"),
        (None, "schema", 99, "schema"),
        (None, "schema", None, "schema"),
        (None, "lr", "0.1", "lr"),
        (None, "adapter", "lora", "adapter"),
        (None, "stages", "none", "stages"),
    ],
)
def test_a_damaged_record_is_told_with_its_file(tmp_path, part, name, value, told):
    damaged = record("sft", 0.5)
    folder = write_study(tmp_path, [damaged, record("icl", 0.5)])
    content = json.loads((folder / damaged.file).read_text())
    (content if part is None else content[part])[name] = value
    (folder / damaged.file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"sft.*\.json: this record can't be read \({told}(: | is missing)"):
        StudyReport.of(folder, with_paper=False)


def test_without_dev_losses_nothing_is_chosen_by_them(tmp_path):
    folder = write_study(tmp_path, [record("sft", 0.5), record("icl", 0.5)], select="dev")
    with pytest.raises(InputError, match=r"sft.*\.json: this record has no dev loss"):
        StudyReport.of(folder, with_paper=False)


@pytest.mark.parametrize("select", ["accuracy", "dev"])
def test_what_diverged_counts_nowhere_and_is_said(tmp_path, select):
    records = [record("sft", 0.5, seed=seed, lr=1e-4, dev_loss=1.0) for seed in (0, 1)]
    records += [record("sft", 0.9, seed=0, lr=1e-3, dev_loss=0.1), diverged("sft", seed=1, lr=1e-3)]
    records += [
        diverged("ia2", seed=seed, labels=None, lr=1e-3, eval=task) for seed in (0, 1) for task in ("sst2", "finsen")
    ]
    folder = write_study(tmp_path, records, select=select)
    report = StudyReport.of(folder, with_paper=False)
    (cell,) = report.cells
    assert (cell.method, cell.lr, cell.accuracy) == ("sft", 1e-4, (0.5, 0.5))
    told = [note for note in report.notes if "diverged" in note]
    assert told == [
        "IA2 (small, lora, lr 0.001) diverged on 2 of 2 sets (over all N); these are left out.",
        "SFT (small, lora, ground-truth labels, lr 0.001) diverged on 1 of 2 sets (over all N); these are left out.",
        "The best is selected among the learning rates and β that diverged on the fewest sets.",
    ]
    report.write(tmp_path / "report", "html")
