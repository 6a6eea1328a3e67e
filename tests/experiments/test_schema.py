import pytest
import yaml
from conftest import real_data

from ia2.adapters.kinds import LoRA
from ia2.errors import InputError
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rats": [1]}, r"line 10: rats: there is no such key"),
        ({"model": ["a"]}, r"line 10: model: there is no such key. Did you mean models\?"),
        ({"epochs": 3}, r"epochs: there is no such key. Did you mean training.epochs\?"),
        ({"methods": "sft"}, r"methods: this must be a list, such as \[a, b\] \(given: sft\)"),
        ({"n": [1, "four"]}, r"n\.0: [^\n]*\n[^\n]*n\.1: [^\n]*$"),
        ({"n": [4, 1]}, r"line 8: n.1: a training row.s prompt .* at least 2 are needed \(given: 1\)"),
        ({"tasks": [{"train": "reviews"}, {"train": "sst3"}]}, r"line 6: tasks.1.train: there is no task sst3"),
        ({"tasks": [{"train": "gsm8k_symbolic"}]}, r"gsm8k_symbolic only evaluates"),
        ({"tasks": [{"train": "sst2", "evaluate": ["sst2", "sst2"]}]}, r"tasks.0.evaluate: a task is named twice"),
        ({"tasks": [{"train": "sst2", "n": []}]}, r"tasks.0.n: tuple should have at least 1 item"),
        ({"tasks": [{"train": "sst2", "n": [1]}]}, r"tasks.0.n.0: .* at least 2 are needed"),
        (
            {"tasks": [{"train": "sst2"}, {"train": "sst2", "models": ["o", "m"]}]},
            r"two entries of tasks train m on 4 rows of sst2",
        ),
        (
            {"methods": ["ia2-solved"], "tasks": [{"train": "sst2", "adapters": ["lora", "ia3"]}]},
            r"ia2-solved is solved for LoRA alone",
        ),
        ({"methods": ["sft", "stf"]}, r"methods: there is no method stf"),
        ({"methods": ["sft", "sft"]}, r"a method is named twice"),
        (
            {"methods": [{"name": "sft_icl-response", "stages": [{"objective": "match-tokens"}]}]},
            r"sft_icl-response: this ending is kept for label sources, rates and β",
        ),
        ({"methods": [{"name": "a_lr1e-05", "stages": [{"objective": "match-tokens"}]}]}, r"a_lr1e-05: this ending"),
        ({"methods": [{"name": "a", "stages": []}]}, r"stages: list should have at least 1 item"),
        ({"adapters": ["lore"]}, r"line 11: adapters.0: there is no adapter lore"),
        ({"adapters": [{"kind": "lora", "ranks": 3}]}, r"unexpected keyword argument 'ranks'"),
        ({"adapters": [{"kind": "lora", "rank": 0}]}, r"rank 0"),
        ({"betas": [0.5]}, r"betas: no method tries several weights of the token loss"),
        ({"methods": ["ia2-solved"], "adapters": ["ia3"]}, r"ia2-solved is solved for LoRA alone"),
        ({"learning_rates": [0]}, r"learning_rates.0: this must be a positive number, such as 1e-3 \(given: 0\)"),
        (
            {"learning_rates": [1e-3, 1e-2, 1.0000001e-3]},
            r"line 10: learning_rates: 0.001 and 0.0010000001 are the same in six digits",
        ),
        ({"methods": ["ia2+sft"], "betas": [0.5, 0.5]}, r"betas: 0.5 and 0.5 are the same in six digits"),
        ({"adapters": ["lora", {"kind": "lora", "rank": 8}]}, r"line 10: adapters: an adapter is named twice"),
        ({"training": {"epoch": 2}}, r"line 11: training.epoch: there is no such key. Did you mean training.epochs\?"),
        ({"select": "test"}, r"select: input should be 'accuracy' or 'dev'"),
        ({"models": []}, r"models: .*at least 1 item"),
        ({"teacher_stop": "never"}, r"line 10: teacher_stop: input should be 'task' or 'none'"),
        ({"confidence": "top-10", "label_scoring": "whole"}, r"confidence top-10 is of single tokens"),
        ({"benchmark_options": {"text_limits": 3}}, r"line 11: benchmark_options.text_limits: there is no such key"),
        (
            {"benchmark_options": {"text_limit": 3}},
            r"the option text_limit is changed, and no task of the study has it",
        ),
    ],
)
def test_every_mistake_is_named_with_its_line(tmp_path, changes, message):
    path = write(tmp_path / "a.yaml", **changes)
    with pytest.raises(InputError, match=message) as error:
        load_experiment(path)
    assert all(line.startswith(f"{path}, line ") for line in str(error.value).splitlines())


def test_files_that_are_no_study_are_refused(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        load_experiment(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InputError, match="this is no YAML"):
        load_experiment(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(InputError, match="line 1: the whole file"):
        load_experiment(tmp_path / "a.yaml")


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


def test_a_combination_that_cannot_be_is_named_with_the_line_of_its_key(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nmodels: [m]\ntasks: [{train: reviews}]\nn: [4]\nmethods: [sft]\nbetas: [0.5]\n")
    with pytest.raises(
        InputError,
        match=r"study.yaml, line 6: betas: no method tries several weights of the token loss; ia2\+sft does \(.*\).$",
    ):
        load_experiment(path)


def test_a_task_may_be_only_named(tmp_path):
    named = load_experiment(write(tmp_path / "a.yaml", tasks=["reviews"]))
    assert named == load_experiment(write(tmp_path / "b.yaml"))
