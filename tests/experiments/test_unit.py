import json
from dataclasses import replace

import pytest
import torch
from conftest import tiny_network
from huggingface_hub import ModelCard
from peft import PeftModel
from small_study import opened, study
from transformers import AutoTokenizer

from ia2.adapters.adapter import Adapter
from ia2.errors import FieldError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.logistic import LogisticClassifier
from ia2.evaluation.temperature import fitted_temperature
from ia2.experiments import schema
from ia2.experiments.baseline_names import BASELINES
from ia2.experiments.plan import units
from ia2.experiments.run import run
from ia2.experiments.store import Store
from ia2.experiments.unit import compute
from ia2.experiments.unit_rows import unit_rows
from ia2.progress import Silent
from ia2.records import Metrics, load_records
from ia2.reports.aggregate import cells
from ia2.training import train as training
from ia2.training.methods import METHODS

BASELINES_OF_LABELS = [name for name in BASELINES if name != "context"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def load(tiny_model):
    return lambda _name: tiny_model


def chosen(**changes):
    """One unit, of whose adapters each method's best is measured."""
    return study(**{"sets": 1, "select": "dev", "measure": "chosen", "training": {"epochs": 3}} | changes)


def computed(experiment, model, folder, progress=None):
    """The records of a study's first unit, by method, and its rows."""
    unit = units(experiment)[0]
    compute(experiment, unit, model, folder, progress=progress or Silent())
    records = {record.method: record for record in load_records(folder, unit.id)}
    return records, unit_rows(experiment, unit, model)


def answers(folder, record):
    """What was answered to each row."""
    lines = ((folder / record.file).parent / record.predictions).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_way_is_measured_and_recorded(tiny_model, toy_task, tmp_path, monkeypatch):
    monkeypatch.setattr("ia2.experiments.schema.load_rows", lambda *_a: replace(toy_task, name="reviews"))
    experiment = chosen(rows=None, asim_rows=100, label_scoring="token")
    records, rows = computed(experiment, tiny_model, tmp_path)
    assert len(rows.few_shot_set.evaluation) == 24
    assert records.keys() == {"zero-shot", "icl", "sft", "ia2", "ia2-sft"}
    assert len(list(tmp_path.glob("records/*/*.json"))) == 5
    for name in ("zero-shot", "icl"):
        assert records[name].lr is None
        assert records[name].adapter is None
    assert (records["zero-shot"].n, records["icl"].n) == (0, 4)
    assert records["icl"].metrics.asim == pytest.approx(1.0, abs=1e-5)
    assert records["ia2"].metrics.asim > records["zero-shot"].metrics.asim
    for record in records.values():
        metrics = record.metrics
        assert metrics.n == len(rows.few_shot_set.evaluation)
        assert record.notes == [*tiny_model.notes, *rows.notes]
        low, high = metrics.get("accuracy_interval")
        assert 0 <= low <= metrics.accuracy <= high <= 1
        assert len(metrics.asim_by_layer) == 3
        answered = answers(tmp_path, record)
        assert sum(row["correct"] for row in answered) / len(answered) == metrics.accuracy
    both = records["ia2-sft"]
    assert [stage.objective for stage in both.stages] == ["align", "match-tokens"]
    assert both.adapter.sizes == {
        "kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "key", "output"], "dora": False, "rslora": False,
        "dropout": 0.0, "path": f"adapters/{units(chosen())[0].id}/lora_ia2-sft_lr{both.lr:g}"
    }  # fmt: skip


def test_methods_that_begin_alike_share_their_first_stage(tiny_model, tmp_path):
    experiment = study(sets=1, methods=["ia2", "ia2-sft"])
    computed(experiment, tiny_model, tmp_path)
    first = {
        (record.method, record.lr): record.stages[0].model_copy(update={"seconds": 0.0})
        for record in load_records(tmp_path)
    }
    assert first.keys() == {(method, rate) for method in ("ia2", "ia2-sft") for rate in (1e-3, 1e-2)}
    for rate in (1e-3, 1e-2):
        assert first["ia2", rate] == first["ia2-sft", rate]
    assert first["ia2", 1e-3] != first["ia2", 1e-2]


def test_the_best_learning_rate_by_dev_loss_is_kept_and_saved(tiny_model, tmp_path):
    records, rows = computed(chosen(methods=["sft"]), tiny_model, tmp_path)
    record = records["sft"]
    losses = {one["lr"]: one["dev_loss"] for one in record.options.get("tried")}
    assert losses.keys() == {1e-3, 1e-2}
    assert record.lr == min(losses, key=losses.get)
    assert record.options.dev_loss == min(losses.values())
    assert record.options.selected_by == "dev"
    assert [path.name for path in tmp_path.glob("adapters/*/*")] == [f"lora_sft_lr{record.lr:g}"]
    # what was saved answers as the record says, through PEFT
    model = PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / record.adapter.path))
    few = rows.few_shot_set
    again = evaluate(
        replace(tiny_model, network=model.get_base_model()),
        few.evaluation,
        few.task,
        settings=EvaluationSettings(label_scoring="whole"),
    )
    assert [row["predicted"] for row in answers(tmp_path, record)] == [row.predicted for row in again.predictions]


def test_what_is_measured_alone_is_as_it_is_beside_others(tiny_model, tmp_path):
    best, _ = computed(chosen(), tiny_model, tmp_path / "chosen")
    computed(chosen(measure="all"), tiny_model, tmp_path / "all")
    every = load_records(tmp_path / "all")
    assert len(every) == 2 + 3 * 2
    for record in every:
        if record.lr == best[record.method].lr:
            metrics = best[record.method].metrics
            assert record.metrics.accuracy == metrics.accuracy
            assert record.metrics.ece == pytest.approx(metrics.ece, abs=1e-6)
            assert record.options.dev_loss == pytest.approx(best[record.method].options.dev_loss)
            assert (record.options.tried, record.options.selected_by) == ([], None)


def test_one_that_was_stopped_goes_on_with_the_stages_that_it_had_trained(tiny_model, tmp_path, monkeypatch):
    calm, _ = computed(chosen(), tiny_model, tmp_path / "calm")
    stages = tmp_path / "cache" / "stages"
    assert list(stages.glob("*/*")) == []  # they go when the unit is done

    def stopped(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("ia2.experiments.unit_evaluator.evaluate_all", stopped)
        computed(chosen(), tiny_model, tmp_path / "torn")
    assert len(list(stages.glob("*/*.safetensors"))) == 2
    trained, said, progress = [], [], Silent()
    progress.say = said.append
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_stage", lambda *_arguments: trained.append(1))
        again, _ = computed(chosen(), tiny_model, tmp_path / "again", progress)
    assert trained == []
    assert [sentence for sentence in said if "checkpoint" in sentence] == [
        "stage 1 of 4 adapters: trained by an earlier, interrupted run and read from its checkpoint.",
        "stage 2 of 2 adapters: trained by an earlier, interrupted run and read from its checkpoint.",
    ]
    for name, record in calm.items():
        assert (record.metrics, record.lr) == (again[name].metrics, again[name].lr)
        # the seconds that it took are those of the run that trained it
        assert [stage.model_dump(exclude={"seconds"}) for stage in record.stages] == [
            stage.model_dump(exclude={"seconds"}) for stage in again[name].stages
        ]
    assert list(stages.glob("*/*")) == []


def test_adapters_that_were_chosen_have_a_card_and_the_tokenizer(tiny_model, tmp_path):
    records, rows = computed(chosen(methods=["sft", "ia2"]), tiny_model, tmp_path / "one")
    computed(chosen(methods=["sft", "ia2"]), tiny_model, tmp_path / "two")
    for method in ("sft", "ia2"):
        folder = tmp_path / "one" / records[method].adapter.path
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert ModelCard(text).data.eval_results[0].metric_value == records[method].metrics.accuracy
        assert not [row.query for row in rows.few_shot_set.train if row.query in text]
        assert AutoTokenizer.from_pretrained(folder)("Label:") == tiny_model.tokenizer("Label:")
        # computed again, every file is the same
        for path in folder.iterdir():
            assert path.read_bytes() == (tmp_path / "two" / records[method].adapter.path / path.name).read_bytes()
    computed(chosen(methods=["sft"], measure="all"), tiny_model, tmp_path / "all")
    for folder in (tmp_path / "all").glob("adapters/*/*"):
        assert (folder / "README.md").is_file()
        assert not (folder / "tokenizer.json").exists()


def test_the_teacher_is_not_asked_where_no_method_needs_it(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ia2.experiments.unit_training.collect_targets", lambda *_a, **_k: pytest.fail("the teacher was asked")
    )
    computed(chosen(methods=["sft"]), tiny_model, tmp_path)
    with pytest.raises(pytest.fail.Exception, match="the teacher was asked"):
        computed(chosen(methods=["ia2"]), tiny_model, tmp_path / "ia2")


def test_without_evaluation_rows_the_adapter_is_kept_and_nothing_is_measured(tiny_model, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"the {thing} was fine,{at % 2}\n" for at, thing in enumerate("abcdef")))
    experiment = chosen(tasks=[{"data": rows}], methods=["icl", "sft"], label_scoring="token")
    records, _ = computed(experiment, tiny_model, tmp_path / "out")
    for record in records.values():
        assert record.metrics == Metrics(n=0, accuracy=None, ece=None, asim=None)
    assert Adapter.load(tmp_path / "out" / records["sft"].adapter.path).weights


def test_the_network_is_left_as_it_was(tiny_model, tmp_path):
    before = {name: value.clone() for name, value in tiny_model.network.state_dict().items()}
    computed(chosen(methods=["ia2-sft"]), tiny_model, tmp_path)
    after = tiny_model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_rate_at_which_training_diverges_is_left_out_and_said(tiny_model, tmp_path):
    progress = Silent()
    said = []
    progress.say = said.append
    sft = {"methods": ["sft"]}
    records, _ = computed(chosen(**sft, learning_rates=[1e-3, 1e30]), tiny_model, tmp_path, progress)
    assert "sft diverged at learning rate 1e+30, which is left out." in said
    record = records["sft"]
    assert record.lr == 1e-3
    assert [(one["lr"], one["dev_loss"] is None) for one in record.options.get("tried")] == [
        (1e-3, False),
        (1e30, True),
    ]
    with pytest.raises(FieldError, match=r"learning_rate 1e\+29, 1e\+30: sft diverged, and there is no other rate"):
        computed(chosen(**sft, learning_rates=[1e29, 1e30]), tiny_model, tmp_path / "none")


def test_an_adapter_that_diverges_is_recorded_without_metrics_and_takes_no_sound_one_with_it(tmp_path, load):
    experiment = study(methods=["sft", "ia2-sft"], sets=1, learning_rates=[1e30, 1e-3])
    store, told = opened(tmp_path / "out", experiment), Silent()
    said: list[str] = []
    told.say = said.append
    assert run(experiment, store, load=load, progress=told).failed == ()
    assert "lora_sft_lr1e+30, lora_ia2-sft_lr1e+30: training diverged; recorded without metrics." in said
    records = load_records(tmp_path / "out")
    assert len(records) == 4
    for record in records:
        diverged = record.lr == 1e30
        assert (record.metrics.accuracy is None) == (record.options.dev_loss is None) == diverged
        assert (record.adapter.path is None) == (record.stages[-1].stopped_by == "diverged") == diverged
        rows = (tmp_path / "out" / "records" / record.options.unit / record.predictions).read_text()
        assert bool(rows) == (not diverged)
    assert len(list((tmp_path / "out" / "adapters").glob("*/*/adapter_config.json"))) == 2
    # which is done with, and isn't tried for ever
    again = run(experiment, opened(tmp_path / "out", experiment), load=lambda _n: pytest.fail("nothing is missing"))
    assert (again.done, again.before) == (0, 1)


def test_a_unit_of_which_every_adapter_diverges_is_done_as_well(tmp_path, load):
    experiment = study(methods=["zero-shot", "sft"], sets=1, learning_rates=[1e30])
    assert run(experiment, opened(tmp_path / "out", experiment), load=load).failed == ()
    assert [one.metrics.accuracy is None for one in load_records(tmp_path / "out")] == [True, False]


def test_what_is_free_at_the_moment_decides_nothing(tmp_path, load, monkeypatch):
    # banks of other sizes sum in another order, and a run that is repeated would have other records
    monkeypatch.setattr(training, "free_bytes", lambda _device: pytest.fail("a study asked what is free"))
    experiment = study(sets=1)
    assert run(experiment, opened(tmp_path / "out", experiment), load=load).failed == ()
    rows = unit_rows(experiment, units(experiment)[0], load("tiny"))
    with pytest.raises(pytest.fail.Exception, match="a study asked"):  # as training does where no memory is named
        training.train(load("tiny"), rows.few_shot_set, METHODS["sft"], learning_rate=1e-3)


def test_calibration_is_recorded_at_the_temperature_of_the_dev_rows(tiny_model, tmp_path):
    experiment = chosen(n=[6], draw="class", methods=["zero-shot", "icl", "sft"])
    records, rows = computed(experiment, tiny_model, tmp_path)
    few = rows.few_shot_set
    assert len({row.response for row in few.dev}) == 2
    dev = {
        "zero-shot": evaluate(tiny_model, few.dev, few.task, settings=EvaluationSettings(label_scoring="whole")),
        "icl": evaluate(
            tiny_model,
            few.dev,
            few.task,
            demonstrations=few.demonstrations(),
            settings=EvaluationSettings(label_scoring="whole"),
        ),
        "sft": evaluate(
            tiny_model,
            few.dev,
            few.task,
            adapter=Adapter.load(tmp_path / records["sft"].adapter.path),
            settings=EvaluationSettings(label_scoring=records["sft"].options.get("label_scoring")),
        ),
    }
    for name, evaluation in dev.items():
        metrics = records[name].metrics
        expected = fitted_temperature(evaluation.probabilities, evaluation.right)
        assert metrics.temperature == pytest.approx(expected, rel=1e-3)
        probabilities = torch.tensor([row["label_probabilities"] for row in answers(tmp_path, records[name])])
        right = torch.tensor([few.task.labels.index(row["response"]) for row in answers(tmp_path, records[name])])
        nll = torch.nn.functional.cross_entropy(probabilities.double().log() / metrics.temperature, right)
        assert metrics.scaled_nll == pytest.approx(nll.item(), rel=1e-4)


def test_without_dev_rows_of_two_labels_nothing_is_scaled_and_it_is_said(tiny_model, tmp_path):
    progress, said = Silent(), []
    progress.say = said.append
    records, _ = computed(chosen(methods=["icl", "sft"], dev_rows=1), tiny_model, tmp_path, progress)
    note = "reviews: no temperature is fitted, as there is one dev row (at least two labels are needed)."
    assert said.count(note) == 1
    for record in records.values():
        assert note in record.notes
        assert record.metrics.temperature is record.metrics.scaled_ece is None


def test_every_baseline_is_recorded(tiny_model, tmp_path):
    records, rows = computed(chosen(n=[6], draw="class", methods=list(BASELINES_OF_LABELS)), tiny_model, tmp_path)
    assert records.keys() == set(BASELINES_OF_LABELS)
    for name, record in records.items():
        assert record.adapter is None
        assert record.n == (0 if name == "zero-shot" else 6)
        assert record.metrics.n == len(rows.few_shot_set.evaluation)
        assert record.metrics.temperature > 0
        assert (record.metrics.asim is not None) == (name in ("zero-shot", "icl"))
        assert record.seconds.keys() >= {"evaluate", "temperature"}
    assert records["logistic-tfidf"].options.get("inverse_penalty") is not None
    assert records["icl-batch"].options.get("demonstrations") == "shared"
    # the model reads no words for a classifier of words, and the query alone for one of hidden states
    assert records["logistic-tfidf"].metrics.prompt_tokens is None
    assert records["logistic-hidden"].metrics.prompt_tokens == records["zero-shot"].metrics.prompt_tokens


def test_a_mean_shift_has_an_adapter_of_its_own_kind_beside_others(tiny_model, tmp_path):
    records, _ = computed(chosen(methods=["icl", "sft", "mean-shift"]), tiny_model, tmp_path)
    shift = records["mean-shift"]
    assert (shift.adapter.kind, shift.lr, shift.stages[0].stopped_by) == ("shift", None, "solved")
    assert records["sft"].adapter.kind == "lora"
    assert shift.metrics.asim > 0
    # in tables it stands beside LoRA
    (of_lora,) = {cell.setting.adapter for cell in cells(load_records(tmp_path))}
    assert of_lora == "lora"
    assert {cell.method for cell in cells(load_records(tmp_path))} == {"icl", "sft", "mean-shift"}


def test_what_is_forgotten_stands_in_the_record_of_the_first_task(tiny_model, toy_task, tmp_path, monkeypatch):
    load = schema.load_rows
    monkeypatch.setattr(
        schema,
        "load_rows",
        lambda rows, name, *more: toy_task.limited(5) if name == "poems" else load(rows, name, *more),
    )
    held = tmp_path / "held.txt"
    held.write_text("It is great, and the room was cold.")
    experiment = chosen(methods=["zero-shot", "sft"], forgetting=["poems"], held_text=held, label_scoring="whole")
    records, _ = computed(experiment, tiny_model, tmp_path / "out")
    metrics = records["sft"].metrics
    (forgotten,) = metrics.forgetting
    assert (forgotten.task, forgotten.n) == ("toy", 5)
    assert metrics.held_tokens == len(tiny_model.tokenizer(held.read_text())["input_ids"]) - 1
    assert metrics.held_log_likelihood < 0
    assert "forgetting" in records["sft"].seconds
    # of the model itself there is nothing to forget, and no other task has records
    assert records["zero-shot"].metrics.forgetting is None
    assert {record.task.eval for record in records.values()} == {"reviews"}


def test_a_unit_that_no_method_can_answer_is_refused_before_anything_is_computed(tmp_path, load, toy_task, monkeypatch):
    load_rows = schema.load_rows
    monkeypatch.setattr(
        schema, "load_rows", lambda rows, name, *more: toy_task if name == "sst2" else load_rows(rows, name, *more)
    )
    monkeypatch.setattr(LogisticClassifier, "fit", lambda *_: pytest.fail("a classifier was fitted"))
    tasks = [{"train": "reviews", "evaluate": ["sst2"]}]
    experiment = chosen(methods=["logistic-tfidf", "logistic-hidden"], tasks=tasks)
    outcome = run(experiment, opened(tmp_path, experiment), load=load)
    (error,) = Store(tmp_path).failures().values()
    assert len(outcome.failed) == 1
    named = (
        "logistic-tfidf, logistic-hidden: these can only predict the labels of reviews, which differ from those of toy."
    )
    assert named in error
    # the model itself can answer any task
    experiment = chosen(methods=["logistic-tfidf", "zero-shot"], tasks=tasks)
    assert run(experiment, opened(tmp_path / "both", experiment), load=load).failed == ()
    assert {record.method for record in load_records(tmp_path / "both")} == {"zero-shot"}
