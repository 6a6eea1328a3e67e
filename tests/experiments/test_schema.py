import pytest
import yaml
from conftest import real_data
from pydantic import ValidationError
from small_study import study as small

from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.schema import Experiment
from ia2.experiments.study_file import load_experiment
from ia2.tasks.load import load_task

SMALL = {"name": "small", "models": ["m"], "tasks": [{"train": "reviews"}], "n": [4], "methods": ["sft"]}


def write(path, **changes):
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return path


def test_what_is_not_said_is_the_protocols(tmp_path):
    study = load_experiment(write(tmp_path / "a.yaml"))
    assert study.sets == 5
    assert [one.adapter for one in study.adapters] == [LoRA()]
    assert study.tasks[0].measured == ("reviews",)
    assert study.training.epochs == 50
    assert study.select == "accuracy"


def test_adapters_and_methods_are_named_or_described(tmp_path):
    own = {"name": "upper", "stages": [{"objective": "align-attention", "layers": "1-2"}]}
    study = load_experiment(
        write(
            tmp_path / "a.yaml",
            adapters=["ia3", {"kind": "lora", "rank": 4, "modules": ["query", "value"]}],
            methods=["icl", "ia2", own],
        )
    )
    assert study.adapters[1].adapter == LoRA(rank=4, modules=("query", "value"))
    assert study.baselines == ("icl",)
    assert [method.name for method in study.trained_methods] == ["ia2", "upper"]


def test_settings_alone_decide_what_records_hold(tmp_path):
    first = load_experiment(write(tmp_path / "a.yaml"))
    more = load_experiment(write(tmp_path / "a.yaml", n=[4, 8], sets=2, description="more", select="dev"))
    other = load_experiment(write(tmp_path / "a.yaml", rows=3))
    assert first.settings == more.settings != other.settings


def test_a_task_may_have_models_n_and_adapters_of_its_own(tmp_path):
    own = {"train": "sst2", "models": ["o"], "n": [8], "adapters": ["ia3"]}
    study = load_experiment(write(tmp_path / "a.yaml", tasks=[{"train": "reviews"}, own]))
    first, second = study.tasks
    assert (study.models_of(first), study.n_of(first), study.adapters_of(first)) == (("m",), (4,), study.adapters)
    assert (study.models_of(second), study.n_of(second)) == (("o",), (8,))
    assert [one.kind for one in study.adapters_of(second)] == ["ia3"]
    assert study.all_models == ("m", "o")
    assert load_experiment(write(tmp_path / "a.yaml", tasks=[own])).all_models == ("o",)


@real_data
def test_each_task_has_the_benchmark_options_that_mean_something_there(data_dir):
    experiment = Experiment.model_validate(
        {
            "name": "a",
            "models": ["m"],
            "tasks": [{"train": "sciq_remap", "evaluate": ["qasc_remap"]}, {"train": "sst2"}],
            "n": [4],
            "methods": ["icl"],
            "benchmark_options": {"blank_line_before_answer": True},
        }
    )
    assert all(
        "\n\nAnswer:" in experiment.task(name, data_dir).evaluation[0].query for name in ("sciq_remap", "qasc_remap")
    )
    assert experiment.task("sst2", data_dir) == load_task("sst2", data_dir=data_dir)
    assert experiment.task("reviews", data_dir).name == "reviews"


def test_a_task_may_be_only_named(tmp_path):
    named = load_experiment(write(tmp_path / "a.yaml", tasks=["reviews"]))
    assert named == load_experiment(write(tmp_path / "b.yaml"))


def test_rows_of_a_file_are_a_task_by_its_name(tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\na,1\nb,0\n")
    study = load_experiment(write(tmp_path / "a.yaml", tasks=[{"data": str(tmp_path / "mine.csv")}]))
    assert study.tasks[0].measured == ("mine",)
    assert study.task("mine", None).pool[0].query == "Text:a\nLabel:"
    assert study.files == (tmp_path / "mine.csv",)
    named = load_experiment(write(tmp_path / "a.yaml", tasks=[{"data": str(tmp_path / "mine.csv"), "train": "yours"}]))
    assert named.task("yours", None).name == "yours"


def test_a_path_means_the_same_wherever_a_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_experiment(write(tmp_path / "a.yaml", tasks=[{"data": "b.csv"}], context="c.txt"))
    assert study.files == (tmp_path / "b.csv", tmp_path / "c.txt")
    assert Experiment.model_validate(study.model_dump(mode="json")) == study


def test_a_method_may_fit_other_responses_than_the_rest(tmp_path):
    alone = {"method": "ia2-sft", "label_source": "icl-response"}
    study = load_experiment(write(tmp_path / "a.yaml", methods=["icl", "sft", "ia2", alone]))
    found = [(source, method.name, method.stages[-1].labels) for source, method in study.fitted_methods]
    assert found == [
        ("ground-truth", "sft", "ground-truth"),
        (None, "ia2", "icl-response"),
        ("icl-response", "ia2-sft", "icl-response"),
    ]
    assert Experiment.model_validate(study.model_dump(mode="json")) == study


def test_seeds_count_from_the_first_one(tmp_path):
    study = load_experiment(write(tmp_path / "a.yaml", sets=2, first_seed=7))
    assert [unit.seed for unit in units(study)] == [7, 8]


def test_sets_are_counted_from_zero_on(tmp_path):
    with pytest.raises(InputError, match=r"first_seed: this must be 0 or more \(given: -1\)"):
        load_experiment(write(tmp_path / "a.yaml", first_seed=-1))


def test_label_sources_that_no_method_takes_are_refused():
    described = {"name": "mine", "stages": [{"objective": "match-tokens", "labels": "icl-response"}]}
    for methods in ([described], ["ia2"], [{"method": "sft", "label_source": "ground-truth"}], ["zero-shot"]):
        with pytest.raises(ValueError, match=r"label_sources icl-response: no method of this study uses it"):
            Experiment.model_validate({**SMALL, "methods": methods, "label_sources": ["icl-response"]})
        # what it is where nothing is said
        Experiment.model_validate({**SMALL, "methods": methods, "label_sources": ["ground-truth"]})
    Experiment.model_validate({**SMALL, "methods": [described, "ia2-sft"], "label_sources": ["icl-response"]})


def test_seeds_apart_have_as_many_sets_as_there_are_of_rows():
    apart = small(sets=3, seeds={"rows": 3, "start": 2})
    assert (apart.sets, len(apart.draws)) == (3, 6)
    assert Experiment.model_validate(apart.model_dump(mode="json")) == apart
    assert apart.settings == small().settings
    assert [tuple(draw) for draw in small(sets=2, first_seed=3).draws] == [(3, None, None), (4, None, None)]
    assert [draw.seed for draw in small(seeds={"rows": 2}, first_seed=3).draws] == [3, 4]
    with pytest.raises(ValueError, match="sets 5: seeds already sets 3 sets of rows"):
        small(sets=5, seeds={"rows": 3})


@pytest.mark.parametrize("rows", [0, -1, "many", None])
def test_a_wrong_number_of_sets_of_rows_is_said_of_seeds_alone(rows):
    settings = small().model_dump(mode="json", exclude={"sets"})
    with pytest.raises(ValidationError) as refusal:
        Experiment.model_validate({**settings, "seeds": {"rows": rows}})
    assert [error["loc"] for error in refusal.value.errors()] == [("seeds", "rows")]
