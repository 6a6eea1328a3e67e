import pytest
import yaml

from ia2.errors import InputError
from ia2.experiments.study_file import load_experiment

SMALL = {"name": "small", "models": ["m"], "tasks": [{"train": "reviews"}], "n": [4], "methods": ["sft"]}


def write(path, **changes):
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return path


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
            r"ia2-solved can be solved only for lora and shift",
        ),
        ({"methods": ["sft", "stf"]}, r"methods: there is no method stf"),
        ({"methods": ["sft", "sft"]}, r"a method is listed twice"),
        (
            {"methods": [{"name": "sft_icl-response", "stages": [{"objective": "match-tokens"}]}]},
            r"sft_icl-response: this ending is kept for label sources, rates and β",
        ),
        ({"methods": [{"name": "a_lr1e-05", "stages": [{"objective": "match-tokens"}]}]}, r"a_lr1e-05: this ending"),
        ({"methods": [{"name": "a", "stages": []}]}, r"stages: list should have at least 1 item"),
        ({"adapters": ["lore"]}, r"line 11: adapters.0: there is no such kind; .*lore"),
        (
            {"adapters": [{"kind": "lora", "ranks": 3}]},
            r"line 12: adapters.0.ranks: lora has no such size; it has rank, alpha",
        ),
        ({"adapters": [{"kind": "lora", "rank": 0}]}, r"line 12: adapters.0.rank: this must be 1 or more .given: 0"),
        ({"betas": [0.5]}, r"betas: no method here has a weight of the token loss"),
        ({"methods": ["ia2-solved"], "adapters": ["ia3"]}, r"ia2-solved can be solved only for lora and shift"),
        ({"learning_rates": [0]}, r"learning_rates.0: this must be a positive number, such as 1e-3 \(given: 0\)"),
        (
            {"learning_rates": [1e-3, 1e-2, 1.0000001e-3]},
            r"line 10: learning_rates: 0.001 and 0.0010000001 are the same in six digits",
        ),
        ({"methods": ["ia2+sft"], "betas": [0.5, 0.5]}, r"betas: 0.5 and 0.5 are the same in six digits"),
        ({"adapters": ["lora", {"kind": "lora", "rank": 8}]}, r"line 10: adapters: an adapter is named twice"),
        ({"training": {"epoch": 2}}, r"line 11: training.epoch: there is no such key. Did you mean training.epochs\?"),
        ({"training": {"epochs": 0}}, r"line 11: training.epochs: this must be 1 or more \(given: 0\)"),
        ({"memory": 0}, r"line 10: memory: this must be a positive number of GiB"),
        ({"order": "best"}, r"line 10: order: use random, or best-of-K"),
        ({"measure": "chosen"}, r"line 10: measure: chosen means chosen by dev loss"),
        ({"methods": ["sft", "context"]}, r"line 8: methods: this study has no context"),
        (
            {"context": "c.txt", "methods": ["icl"]},
            r"line 10: context: this replaces demonstrations; use the method context",
        ),
        ({"context": "c.txt", "order": "best-of-2"}, r"line 10: context: this replaces demonstrations"),
        ({"methods": [{"method": "ia2", "label_source": "icl-response"}]}, r"label_source: ia2 has no stage that fits"),
        ({"methods": ["sft", {"method": "sft", "label_source": "ground-truth"}]}, r"methods: a method is listed twice"),
        (
            {"methods": ["ia2-solved"], "learning_rates": [1e-3]},
            r"line 10: learning_rates: ia2-solved has no learning rate",
        ),
        ({"tasks": [{"train": "sst2", "label": "y"}]}, r"line 6: tasks.0.label: a built-in task has its own columns"),
        ({"tasks": [{"train": "sst2", "orders": 2}]}, r"tasks.0.orders: this goes with unlabelled"),
        ({"tasks": [{"data": "a.csv", "stop": ""}]}, r"tasks.0.stop: an empty text would end every response"),
        ({"tasks": [{"data": "a.csv", "evaluate": ["b"]}]}, r"tasks.0.evaluate: there is no task b"),
        ({"tasks": [{"data": "a.csv", "unlabelled": "b.csv"}]}, r"tasks.unlabelled|unlabelled: sft learns from labels"),
        (
            {"tasks": [{"data": "sst2.csv"}, {"train": "finsen", "evaluate": ["sst2"]}]},
            r"line 4: tasks: two entries of tasks describe the rows of sst2 differently",
        ),
        ({"select": "test"}, r"select: input should be 'accuracy', 'evaluated' or 'dev'"),
        ({"models": []}, r"models: .*at least 1 item"),
        ({"teacher_stop": "never"}, r"line 10: teacher_stop: input should be 'task' or 'none'"),
        ({"confidence": "top-10", "label_scoring": "whole"}, r"top-10 is for single tokens"),
        ({"benchmark_options": {"text_limits": 3}}, r"line 11: benchmark_options.text_limits: there is no such key"),
        (
            {"benchmark_options": {"text_limit": 3}},
            r"the option text_limit is set, but no task of the study has it",
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
    with pytest.raises(InputError, match="this is not valid YAML"):
        load_experiment(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(InputError, match="line 1: the whole file"):
        load_experiment(tmp_path / "a.yaml")


def test_a_combination_that_cannot_be_is_named_with_the_line_of_its_key(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nmodels: [m]\ntasks: [{train: reviews}]\nn: [4]\nmethods: [sft]\nbetas: [0.5]\n")
    with pytest.raises(
        InputError,
        match=r"study.yaml, line 6: betas: no method here has a weight of the token loss .*; ia2\+sft has \(.*\).$",
    ):
        load_experiment(path)
