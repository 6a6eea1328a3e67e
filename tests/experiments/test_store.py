import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import command_line
import pytest
from small_study import opened, study

from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.plan_file import load_experiment_of
from ia2.experiments.run import run
from ia2.experiments.store import Store
from ia2.records import load_records


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def load(tiny_model):
    return lambda _name: tiny_model


def test_a_folder_of_other_settings_or_of_something_else_is_refused(tmp_path):
    opened(tmp_path / "out", study())
    with pytest.raises(InputError, match=r"records of small with other settings \(rows\)"):
        opened(tmp_path / "out", study(rows=7))
    with pytest.raises(InputError, match=r"with other settings \(--limit\)"):
        opened(tmp_path / "out", study(), limit=3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        opened(tmp_path / "other", study())
    with pytest.raises(InputError, match="no records here"):
        load_records(tmp_path / "out")
    with pytest.raises(InputError, match="no study here"):
        load_experiment_of(tmp_path / "other")


def test_a_folder_whose_sets_were_drawn_independently_goes_on_so_or_is_refused(tmp_path):
    opened(tmp_path, study(nested=False))
    plan = json.loads((tmp_path / "plan.json").read_text())
    del plan["experiment"]["nested"]  # as the first versions wrote it
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="rows were drawn separately for each N.* Set nested: false to continue it"):
        opened(tmp_path, study())
    assert opened(tmp_path, study(nested=False, n=[4, 8])).is_done(units(study())[0]) is False
    opened(tmp_path / "other", study())
    with pytest.raises(InputError, match=r"with other settings \(nested\)"):
        opened(tmp_path / "other", study(nested=False))


def test_tasks_that_are_measured_may_not_change_for_units_that_are_planned(tmp_path):
    opened(tmp_path / "out", study())
    with pytest.raises(
        InputError, match="tiny-reviews-n4-set0 has evaluate reviews, but now reviews, sst2 is requested"
    ):
        opened(tmp_path / "out", study(tasks=[{"train": "reviews", "evaluate": ["reviews", "sst2"]}]))
    # another task, and the same one said otherwise, change nothing
    same = {"train": "reviews", "evaluate": ["reviews"]}
    opened(tmp_path / "out", study(tasks=[same, {"train": "sst2", "evaluate": ["sst2", "finsen"]}]))
    opened(tmp_path / "out", study(tasks=[same, {"train": "sst2", "evaluate": ["finsen", "sst2"]}]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": [{"train": "reviews", "evaluate": ["sst2"]}]}, "a-b-reviews-n4-set0 has evaluate reviews,"),
        ({"models": ["a-b"]}, "a-b-reviews-n4-set0 has model a/b, but now a-b is"),
        ({"adapters": ["ia3"]}, "a-b-reviews-n4-set0 has adapters lora, but now ia3 is"),
    ],
)
def test_what_is_done_is_not_taken_for_something_else_whatever_was_planned_since(tmp_path, load, changes, message):
    first = {"models": ["a/b"], "methods": ["zero-shot"], "sets": 1}
    assert run(study(**first), opened(tmp_path / "out", study(**first)), load=load).done == 1
    opened(tmp_path / "out", study(**first, n=[8]))
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "out", study(**first | changes))
    assert run(study(**first), opened(tmp_path / "out", study(**first)), load=load).before == 1


def test_units_may_be_added_whatever_adapters_others_have(tmp_path):
    own = {"train": "reviews", "adapters": ["ia3"]}
    opened(tmp_path / "out", study(tasks=[own]))
    opened(tmp_path / "out", study(tasks=[own], n=[4, 8], models=["tiny", "other"], sets=3))
    opened(tmp_path / "out", study(tasks=[own, {"train": "sst2", "adapters": ["prefix"]}], adapters=["full"]))
    with pytest.raises(InputError, match="tiny-sst2-n4-set0 has adapters prefix, but now full is requested"):
        opened(tmp_path / "out", study(tasks=[own, {"train": "sst2"}], adapters=["full"]))


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        ('{"limit": nu', "Expecting value: line 1 column 11"),
        ('{"limit": null}', "experiment is missing"),
        ("[]", "experiment is missing"),
        ('{"limit": null, "experiment": {"name": "a"}}', r"models: field required; tasks: field"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path, plan, what):
    opened(tmp_path, study())
    (tmp_path / "plan.json").write_text(plan)
    for read in (load_experiment_of, lambda folder: opened(folder, study())):
        with pytest.raises(InputError, match=f"plan.json: this plan can't be read .*{what}") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith("Restore this file, or name another folder.")


def test_a_damaged_note_of_a_failure_is_named_and_one_being_written_is_left_out(tmp_path):
    store = Store(tmp_path)
    for unit in units(study()):
        store.note_failure(unit, "MemoryError: too little")
    (tmp_path / "failures" / ".partial-0a1b2c3d-tiny-reviews-n4-set2.json").write_text('{"un')
    (tmp_path / "failures" / "tiny-reviews-n4-set1.json").write_text('{"un')
    found = store.failures()
    assert list(found) == ["tiny-reviews-n4-set0", "tiny-reviews-n4-set1"]
    assert found["tiny-reviews-n4-set0"] == "MemoryError: too little"
    assert found["tiny-reviews-n4-set1"].startswith(
        f"{tmp_path}/failures/tiny-reviews-n4-set1.json: this can't be read"
    )


def test_what_is_no_record_of_a_study_is_named(tmp_path):
    (tmp_path / "records" / "unit").mkdir(parents=True)
    (tmp_path / "records" / "unit" / "one.json").write_text('{"method": "sft", "model": {}}')
    with pytest.raises(InputError, match=r"unit/one\.json: this record can't be read \(model\.id is missing\)"):
        load_records(tmp_path)


def test_a_folder_that_a_killed_run_left_with_half_a_plan_is_begun_anew(tmp_path):
    (tmp_path / ".partial-0a1b2c3d-plan.json").write_text('{"limit"')
    opened(tmp_path, study())
    assert load_experiment_of(tmp_path) == study()


def test_what_a_killed_run_left_of_a_unit_is_its_own_alone(tmp_path):
    # the name of one unit is the end of the other's
    experiment = study(models=["tiny", "org/tiny"], sets=1)
    store = opened(tmp_path / "out", experiment)
    mine, anothers = (tmp_path / "out" / "records" / f".partial-0a1b2c3d-{unit.id}" for unit in units(experiment))
    mine.mkdir(parents=True)
    anothers.mkdir()
    (tmp_path / "out" / "units").mkdir()
    file = tmp_path / "out" / "units" / ".partial-0a1b2c3d-tiny-reviews-n4-set0.json"
    file.touch()
    with store.claimed(units(experiment)[0]):
        assert not mine.exists()
        assert not file.exists()
        assert anothers.exists()


def filed(folder, **changes):
    """A study of a person's own rows, which are in the folder."""
    (folder / "rows.csv").write_text("text,label\na,1\nb,0\nc,1\nd,0\n")
    (folder / "context.txt").write_text("Say 1 or 0.")
    rows = {"data": folder / "rows.csv", "label": "label"}
    return study(**{"tasks": [rows], "n": [2], "methods": ["sft"], "context": folder / "context.txt"} | changes)


def test_rows_from_a_file_may_not_change_under_a_study(tmp_path):
    experiment = filed(tmp_path)
    opened(tmp_path / "out", experiment)
    opened(tmp_path / "out", load_experiment_of(tmp_path / "out"))
    assert load_experiment_of(tmp_path / "out") == experiment
    with pytest.raises(
        InputError, match=r"tiny-rows-n2-set0 has rows data .*, label label, but now data .*rows.csv is"
    ):
        opened(tmp_path / "out", filed(tmp_path, tasks=[{"data": tmp_path / "rows.csv"}]))
    for file in ("rows.csv", "context.txt"):
        (tmp_path / file).write_text(f"text,label\n{file},1\n")
        with pytest.raises(InputError, match=f"{file}: this file has changed since .*out was started with it"):
            opened(tmp_path / "out", experiment)
        filed(tmp_path)
    opened(tmp_path / "out", experiment)


def test_a_study_that_may_not_grow_must_be_the_same(tmp_path):
    store = Store(tmp_path / "out")
    store.open(study(sets=1), growing=False)
    store.check(study(sets=1, name="other", description="the same by another name"), growing=False)
    for changes in ({"sets": 2}, {"n": [8]}, {"models": ["other"]}, {"first_seed": 1}, {"adapters": ["ia3"]}):
        store.check(study(**{"sets": 1} | changes)) if changes.keys() != {"adapters"} else None
        named = {"adapters": "kind"}.get(next(iter(changes)), next(iter(changes)))
        with pytest.raises(InputError, match=rf"with other settings \({named}\); they can't be changed"):
            store.check(study(**{"sets": 1} | changes), growing=False)


def test_what_was_begun_is_taken_back_unless_something_was_computed(tmp_path, load):
    experiment = study(methods=["zero-shot"], sets=1)
    store = opened(tmp_path / "out", experiment)
    with store.claimed(units(experiment)[0]):
        store.unfinished(units(experiment)[0]).mkdir(parents=True)
        store.abandon()
    assert not (tmp_path / "out").exists()
    store = opened(tmp_path / "out", experiment)
    run(experiment, store, load=load)
    store.abandon()
    assert store.is_done(units(experiment)[0])
    store.tidy()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"plan.json", "predictions", "records", "units"}


def test_a_study_on_a_dataset_of_the_hub_goes_on_with_the_same_commit_alone(tmp_path, monkeypatch):
    hub = {"owner/name": "c0ffee11" + "0" * 32}

    def commit_of(name, **_options):
        if name not in hub:
            raise InputError(f"hf:{name}: the data hub can't be reached.")
        return hub[name]

    monkeypatch.setattr("ia2.tasks.files.hub.commit_of", commit_of)
    asked = study(tasks=[{"data": "hf:owner/name"}], methods=["zero-shot"], sets=1)
    store = opened(tmp_path / "out", asked)
    opened(tmp_path / "out", asked)
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan["commits"] == {"hf:owner/name": hub["owner/name"]}
    hub["owner/name"] = "decaf" + "0" * 35
    with pytest.raises(InputError) as refusal:
        opened(tmp_path / "out", asked)
    assert str(refusal.value) == (
        f"hf:owner/name: it is now at commit decaf000 on the hub, but {tmp_path / 'out'} was started with c0ffee11. "
        "Name another folder with --out."
    )
    # what is done needs no hub, and the plan keeps its commit
    (unit,) = units(asked)
    (tmp_path / "out" / "records" / unit.id).mkdir(parents=True)
    hub.clear()
    store.open(asked)
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == plan
    with pytest.raises(InputError, match="can't be reached"):
        opened(tmp_path / "another", asked)


def test_a_plan_of_an_earlier_version_knows_no_commit_and_takes_the_one_of_now(tmp_path, monkeypatch):
    monkeypatch.setattr("ia2.tasks.files.hub.commit_of", lambda *_a, **_o: "c0ffee11")
    asked = study(tasks=[{"data": "hf:owner/name"}])
    opened(tmp_path / "out", asked)
    file = tmp_path / "out" / "plan.json"
    plan = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in plan.items() if name != "commits"}))
    opened(tmp_path / "out", asked)
    assert json.loads(file.read_text()) == plan


RACER = """
import sys, time
from pathlib import Path
from small_study import opened, study
from ia2.errors import InputError

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
experiment = study(rows=rows)
for number in range(20):
    (folder / f"ready-{rows}-{number}").touch()
    while len(list(folder.glob(f"ready-*-{number}"))) < 2:
        pass
    try:
        opened(folder / f"out-{number}", experiment)
        print("accepted")
    except InputError as error:
        assert "with other settings (rows)" in str(error), error
        print("refused")
"""


def test_of_two_processes_that_begin_at_once_with_other_settings_one_is_refused(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, tmp_path, str(rows)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for rows in (6, 7)
    ]
    outcomes = [racer.communicate(timeout=300)[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert [set(pair) for pair in zip(*outcomes, strict=True)] == [{"accepted", "refused"}] * 20
    for number, (first, _second) in enumerate(zip(*outcomes, strict=True)):
        assert load_experiment_of(tmp_path / f"out-{number}").rows == (6 if first == "accepted" else 7)


@pytest.fixture
def earlier(tmp_path):
    """A folder that version 0.1.0 wrote with `ia2 adapt`, without its adapters."""
    files = json.loads((Path(__file__).parent / "study_of_0_1_0.json").read_text(encoding="utf-8"))
    for name, value in files.items():
        path = tmp_path / "earlier" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) for row in value] if path.suffix == ".jsonl" else [json.dumps(value)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "earlier"


def test_a_folder_of_an_earlier_version_is_read_and_reports_the_same_from_another_path(earlier, tmp_path, capsys):
    assert [unit.id for unit in units(load_experiment_of(earlier))] == ["model-rows-n4-set0"]
    records = {record.method: record for record in load_records(earlier)}
    assert sorted(records) == ["ia2-sft", "icl", "sft", "zero-shot"]
    for record in records.values():
        correct = [json.loads(line)["correct"] for line in record.rows(earlier).read_text().splitlines()]
        assert record.metrics.accuracy == pytest.approx(sum(correct) / len(correct))
    copy = tmp_path / "another machine" / "copied"
    shutil.copytree(earlier, copy)
    shown = {}
    for folder in (earlier, copy):
        status, out, err = command_line.run(capsys, "report", folder)
        assert status == 0, err
        shown[folder] = out.replace(str(folder), "FOLDER")
    assert "zero-shot" in shown[copy]
    assert shown[copy] == shown[earlier]


def test_a_folder_of_a_later_version_is_refused_in_a_sentence(earlier, capsys):
    file = next(earlier.glob("records/*/icl*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 2}))
    status, _, err = command_line.run(capsys, "report", earlier)
    assert status == 2
    assert err.startswith(f"{file}: this record can't be read (schema: ")
    assert err.count("\n") == 1


def test_a_copied_folder_goes_on(tmp_path):
    opened(tmp_path / "out", study())
    (unit, *_) = units(study())
    (tmp_path / "out" / "records" / unit.id).mkdir(parents=True)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert opened(tmp_path / "copy", study()).is_done(unit)
