import json

import pytest
from small_study import opened, study

from ia2.errors import InputError
from ia2.experiments.plan_file import load_experiment_of, load_plan, plan_of, read_plan


def test_a_plan_is_read_as_it_was_written(tmp_path):
    opened(tmp_path, study(), limit=3)
    experiment, limit, versions = load_plan(tmp_path)
    assert (experiment, limit, versions) == (study(), 3, {"files": {}, "commits": {}})
    assert load_experiment_of(tmp_path) == study()
    assert read_plan(tmp_path) == json.loads((tmp_path / "plan.json").read_text())


def test_a_plan_of_before_there_were_nested_sets_has_none(tmp_path):
    content = {"limit": None, "experiment": study().model_dump(mode="json", exclude={"nested"})}
    experiment, _, versions = plan_of(content, tmp_path / "plan.json")
    assert (experiment.nested, versions) == (False, {"files": {}, "commits": {}})


@pytest.mark.parametrize("content", [3, None, [], {"limit": None}, {"limit": None, "experiment": {"name": "a"}}])
def test_what_is_no_plan_is_refused_by_its_file(tmp_path, content):
    with pytest.raises(InputError, match=r"records.gz: this plan can't be read"):
        plan_of(content, tmp_path / "records.gz")


def test_a_folder_without_a_plan_is_no_study(tmp_path):
    with pytest.raises(InputError, match=r"no study here: plan.json is missing"):
        read_plan(tmp_path)
