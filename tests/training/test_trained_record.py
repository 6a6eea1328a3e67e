from ia2.adapters.lora import LoRA
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS
from ia2.training.plans import Plan
from ia2.training.train import train_all
from ia2.training.trained_record import trained_record


def test_a_record_says_what_was_trained_and_that_nothing_was_measured(tiny_model, toy_task):
    few, method, kind = FewShotSet.draw(toy_task, 4, seed=2), METHODS["sft"], LoRA(rank=2)
    (trained,) = train_all(tiny_model, [Plan(few, method, 1e-2)], adapter=kind, training=Training(epochs=2))
    record = trained_record(tiny_model, few, method, kind, trained, dev_loss=0.5)
    assert (record.method, record.model.id, record.n, record.seed, record.lr) == ("sft", "tiny-llama", 4, 2, 1e-2)
    assert (record.task.train, record.task.labels) == ("toy", ["0", "1"])
    assert (record.adapter.kind, record.adapter.rank, record.adapter.path) == ("lora", 2, None)
    assert (record.metrics.n, record.metrics.accuracy) == (0, None)
    assert (record.options.dev_loss, record.options.get("label_sources")) == (0.5, ["ground-truth"])
    assert [stage.steps for stage in record.stages] == [stage.steps for stage in trained.stages]
