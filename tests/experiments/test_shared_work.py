import copy
import json
import math
from dataclasses import replace

import pytest
from small_study import content, opened, study

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.evaluation.evaluate import evaluate
from ia2.evaluation.texts import Response, TextEvaluation
from ia2.experiments import unit_training
from ia2.experiments.run import run
from ia2.experiments.shared_work import (
    SharedWork,
    TrainedBefore,
    evaluation_as_json,
    evaluation_from_json,
    form_of,
    key_of,
)
from ia2.tasks.task import Dialogue, Example, Turn
from ia2.training.early_stopping import StageHistory
from ia2.training.plans import Trained


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def load(tiny_model):
    return lambda _name: tiny_model


def computed(folder, experiment, load, work=None):
    """A study's files, without what they say of the study itself."""
    assert run(experiment, opened(folder, experiment), load=load, work=work).failed == ()
    files = content(folder)
    for value in files.values():
        if isinstance(value, dict):
            value["options"].pop("experiment")
    return {name: value for name, value in files.items() if not name.startswith(("plan.json", "units/"))}


def test_a_study_takes_what_another_has_computed_and_computes_the_rest(tmp_path, load, monkeypatch):
    first = study(name="first", methods=["zero-shot", "icl", "sft", "ia2"], learning_rates=[1e-3])
    second = study(name="second", methods=["zero-shot", "sft", "ia2-sft"], learning_rates=[1e-3, 1e-2])
    alone = computed(tmp_path / "alone", second, load)
    shared = tmp_path / "shared"
    earlier = computed(tmp_path / "first", first, load, SharedWork(shared))
    trained = []
    plain = unit_training.train_all

    def counted(model, plans, **more):
        trained.extend((plan.method.name, plan.learning_rate) for plan in plans)
        return plain(model, plans, **more)

    monkeypatch.setattr(unit_training, "train_all", counted)
    again = computed(tmp_path / "second", second, load, SharedWork(shared))
    # of both sets; sft at the first rate was there
    assert sorted(trained) == sorted([("sft", 1e-2), ("ia2-sft", 1e-3), ("ia2-sft", 1e-2)] * 2)
    assert again.keys() == alone.keys()
    for name in alone:
        if name.startswith("records/"):
            expected, metrics = alone[name]["metrics"], again[name]["metrics"]
            assert metrics["accuracy"] == expected["accuracy"]
            assert metrics["nll"] == pytest.approx(expected["nll"], abs=1e-5)
            steps = [stage["steps"] for stage in alone[name]["stages"]]
            assert [stage["steps"] for stage in again[name]["stages"]] == steps
    # what was there is the same to the bit
    for part in ("set0/lora_sft_lr0.001_on_reviews.json", "set1/lora_sft_lr0.001/adapter_model.safetensors"):
        (name,) = (name for name in again if name.endswith(part))
        assert again[name] == earlier[name]


@pytest.mark.parametrize(
    "changes",
    [{"training": {"epochs": 1}}, {"first_seed": 5}, {"adapters": [{"kind": "lora", "rank": 4}]}, {"dev_rows": 1}],
)
def test_what_depends_on_something_else_is_computed_anew(tmp_path, load, changes):
    settings = {"methods": ["sft"], "sets": 1, "learning_rates": [1e-3]}
    work = SharedWork(tmp_path / "shared")
    computed(tmp_path / "first", study(**settings), load, work)
    changed = study(**settings | changes)
    alone = computed(tmp_path / "alone", changed, load)
    assert computed(tmp_path / "second", changed, load, work) == alone


def test_seconds_are_those_of_whoever_computed_it(tmp_path, load):
    work = SharedWork(tmp_path / "shared")
    experiment = study(sets=1, methods=["zero-shot", "sft"], learning_rates=[1e-3])
    seconds = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        computed(folder, experiment, load, work)
        files = folder.glob("records/*/*.json")
        seconds.append({file.name: json.loads(file.read_text())["seconds"] for file in files})
    assert seconds[0] == seconds[1]
    assert all(spent["evaluate"] > 0 for spent in seconds[0].values())


def test_an_adapter_comes_back_as_it_was_kept(tmp_path, tiny_model):
    adapter = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), 0)
    stages = (StageHistory("align", 2, 1, 1, "patience", (0.5, math.nan), ((1, 0.25), (2, math.inf)), 1.5),)
    SharedWork(tmp_path).keep_adapter("key", TrainedBefore(Trained(adapter, 1e-3, stages), 0.25, {"train": 1.5}))
    back = SharedWork(tmp_path).adapter("key")
    assert (back.dev_loss, back.seconds, back.trained.learning_rate) == (0.25, {"train": 1.5}, 1e-3)
    (stage,) = back.trained.stages
    assert (stage.train_losses[0], stage.dev_losses[0], stage.seconds) == (0.5, (1, 0.25), 1.5)
    # JSON has neither NaN nor infinity
    assert math.isnan(stage.train_losses[1])
    assert math.isnan(stage.dev_losses[1][1])
    assert back.trained.adapter.weights.keys() == adapter.weights.keys()
    assert all((back.trained.adapter.weights[name] == tensor).all() for name, tensor in adapter.weights.items())
    assert SharedWork(tmp_path).adapter("other") is None
    assert SharedWork().adapter("key") is None


def test_evaluations_survive_their_json(tiny_model, toy_task):
    labels = evaluate(tiny_model, toy_task.evaluation, toy_task)
    responses = tuple(Response.judged("1 + 1 =", " 2", text, "stop", "number") for text in (" 2", " 3", " two"))
    for evaluation in (labels, TextEvaluation(responses, "number")):
        assert evaluation_from_json(json.loads(json.dumps(evaluation_as_json(evaluation)))) == evaluation


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_file_is_named(tmp_path, text):
    work = SharedWork(tmp_path)
    work.keep_result("key", {"a": 1})
    (file,) = tmp_path.glob("results/*")
    file.write_text(text)
    with pytest.raises(InputError, match=r"key\.json: this can't be read .*Delete it: it is computed again\."):
        work.result("key")


def test_a_tasks_form_is_the_same_whatever_its_rows(toy_task):
    assert form_of(toy_task).pool == ()
    assert form_of(toy_task).labels == toy_task.labels
    assert key_of(form_of(toy_task)) != key_of(toy_task)


def test_conversations_of_other_turns_that_read_alike_have_other_keys():
    by_one = Dialogue((Turn("system", "Be brief."), Turn("user", "One?\n\nassistant: 1.\n\nuser: Two?")))
    turns = (Turn("system", "Be brief."), Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?"))
    by_two = Dialogue(turns)
    assert str(by_one) == str(by_two)
    keys = {key_of((Example(query, "2."),)) for query in (by_one, by_two, str(by_one))}
    assert len(keys) == 3


def test_a_changed_chat_template_makes_other_adapters_answers_and_similarities(tmp_path, tiny_model):
    experiment = study(methods=["zero-shot", "sft"], sets=1, learning_rates=[1e-3])
    work = SharedWork(tmp_path / "shared")
    computed(tmp_path / "first", experiment, lambda _name: tiny_model, work)
    before = {path.name for path in (tmp_path / "shared").glob("*/*")}
    tokenizer = copy.deepcopy(tiny_model.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    computed(tmp_path / "second", experiment, lambda _name: replace(tiny_model, tokenizer=tokenizer), work)
    after = {path.name for path in (tmp_path / "shared").glob("*/*")}
    assert before < after
    assert len(after) == 2 * len(before)
