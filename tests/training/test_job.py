import torch

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.lora import LoRA, LowRank
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.job import Job
from ia2.training.methods import FINE_TUNE
from ia2.training.student import StageRows


def job_of(model, task):
    few = FewShotSet.draw(task, 4, seed=1)
    start = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), few.seed)
    return Job(StageRows.of(FINE_TUNE, few, None, model), start, EarlyStopping(4, few.seed, Training()), 1e-3, 0)


def test_each_step_of_each_stage_has_its_own_dropout(tiny_model, toy_task):
    job = job_of(tiny_model, toy_task)
    first = job.noise
    assert job_of(tiny_model, toy_task).noise == first
    job.stopping.note_step()
    assert job.noise != first
    later = job_of(tiny_model, toy_task)
    later.stages_before = 1
    assert later.noise != first


def test_the_outcome_has_the_values_of_the_best_dev_evaluation_or_of_the_start(tiny_model, toy_task):
    job = job_of(tiny_model, toy_task)
    bank = Bank(tiny_model.network, [job.start.weights], LowRank(1.0))
    job.stopping.note_step()
    if job.stopping.note_dev_loss(2.0):
        job.best_values = bank.values[0] + 1
    adapter, history = job.outcome(bank)
    assert history.kept_step == 1
    for name, tensor in adapter.weights.items():
        torch.testing.assert_close(tensor, job.start.weights[name] + 1)
    diverged = job_of(tiny_model, toy_task)
    diverged.stopping.note_step()
    assert not diverged.stopping.note_dev_loss(float("nan"))
    adapter, history = diverged.outcome(bank)
    assert (adapter, history.stopped_by) == (diverged.start, "diverged")
