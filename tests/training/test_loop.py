import pytest
import torch

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.lora import LoRA, LowRank
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Silent
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.loop import Job, bank_size, train_stage, trained_reader
from ia2.training.methods import FINE_TUNE
from ia2.training.student import Part, StageRows, step_bytes

TRAINING = Training(epochs=2)


def jobs_of(model: LanguageModel, few: FewShotSet, rates):
    fresh = fresh_adapter(model.network, LoRA().configuration(model.network), few.seed)
    rows = StageRows.of(FINE_TUNE, few, None, model)
    return [Job(rows, fresh, EarlyStopping(few.n, few.seed, TRAINING), rate, 0) for rate in rates]


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


def test_each_job_has_its_adapter_and_history_in_the_order_of_the_jobs(tiny_model, few):
    outcomes = train_stage(
        tiny_model.network, jobs_of(tiny_model, few, (1e-3, 1e-2)), LowRank(1.0), TRAINING, "stage", SILENT
    )
    (slow, slow_history), (fast, fast_history) = outcomes
    start = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), few.seed)
    moved = [
        sum((adapter.weights[name] - start.weights[name]).norm() for name in start.weights) for adapter in (slow, fast)
    ]
    # Adam's steps are as large as the learning rate
    assert moved[1] > 3 * moved[0] > 0
    # 6 rows in batches of 4: two steps an epoch, each with its dev loss
    assert [history.steps for history in (slow_history, fast_history)] == [4, 4]
    assert slow_history.train_losses[0] == pytest.approx(fast_history.train_losses[0], rel=1e-6)


def test_as_many_adapters_share_a_bank_as_the_budget_holds(tiny_model, few):
    jobs = jobs_of(tiny_model, few, (1e-3, 3e-3, 1e-2, 3e-2))
    reader = trained_reader(tiny_model.network, jobs[:1], LowRank(1.0))
    size = step_bytes(reader, Part(FINE_TUNE, jobs[0].rows.train, jobs[0].rows.train.longest(4)))
    said = []

    class Said(Silent):
        def say(self, sentence):
            said.append(sentence)

    fitting = [bank_size(tiny_model.network, jobs, LowRank(1.0), share * size, Said()) for share in (0.1, 2.5, 9.0)]
    assert fitting == [1, 2, 4]
    assert len(said) == 2
    assert "2 are trained at a time" in said[1]


def test_a_bank_is_read_with_gradients(tiny_model, few):
    reader = trained_reader(tiny_model.network, jobs_of(tiny_model, few, (1e-3,)), LowRank(1.0))
    assert reader.adapters.values.requires_grad
    assert reader.adapters.values.dtype == torch.float32
