"""A GPU gives what a CPU gives, and no step waits for it. Run by `make test-gpu`."""

import copy

import pytest
import torch
from conftest import tiny_language_model, tiny_network
from torch.testing import assert_close

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.evaluation.evaluate import evaluate
from ia2.models.decoding import decode
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.job import Job
from ia2.training.loop import RunningStage
from ia2.training.methods import ALIGN, FINE_TUNE, IA2_THEN_SFT
from ia2.training.student import StageRows
from ia2.training.teacher import collect_targets
from ia2.training.train import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU was found")]
STEPS = Training(epochs=3, patience=1000, keep="last")
PROMPTS = [(5, 9, 13, 2), (4, 8), (7, 3, 11, 6, 30, 31)]


@pytest.fixture
def models():
    """The same tiny model on the CPU and on the GPU."""
    network = tiny_network("llama")
    return tiny_language_model(network), tiny_language_model(copy.deepcopy(network).to("cuda"))


def trained(model, task, folder):
    few = FewShotSet.draw(task, 6, seed=1)
    targets = collect_targets(model, few, cache_dir=folder)
    return train(model, few, IA2_THEN_SFT, learning_rate=1e-3, targets=targets, training=STEPS)


def test_training_and_evaluation_give_what_they_give_on_the_cpu(models, toy_task, tmp_path):
    (cpu, gpu), rows = models, toy_task.evaluation[:12]
    ours, theirs = (trained(model, toy_task, tmp_path / str(at)) for at, model in enumerate((gpu, cpu)))
    for mine, other in zip(ours.stages, theirs.stages, strict=True):
        assert mine.train_losses == pytest.approx(other.train_losses, rel=1e-3)
        assert [step for step, _ in mine.dev_losses] == [step for step, _ in other.dev_losses]
    confidence = [
        torch.tensor([row.confidence for row in evaluate(model, rows, toy_task, adapter=theirs.adapter).predictions])
        for model in (gpu, cpu)
    ]
    assert_close(*confidence, atol=1e-4, rtol=1e-3)


def test_what_is_decoded_and_recorded_is_what_the_cpu_decodes(models):
    cpu, gpu = (
        dict(decode(Reader(model.network), PROMPTS, Limits(20), batch_size=2, sites=[ATTENTION_OUTPUT]))
        for model in models
    )
    for index in range(len(PROMPTS)):
        assert gpu[index].tokens == cpu[index].tokens
        expected = cpu[index].activations[ATTENTION_OUTPUT]
        assert_close(gpu[index].activations[ATTENTION_OUTPUT].cpu(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("stage", [ALIGN, FINE_TUNE], ids=["align", "fine-tune"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_step_waits_for_the_gpu(models, toy_task, tmp_path, stage, dtype):
    model = tiny_language_model(models[1].network.to(dtype))
    few, configuration = FewShotSet.draw(toy_task, 6, seed=1), LoRA().configuration(model.network)
    targets = collect_targets(model, few, cache_dir=tmp_path)
    rows = StageRows.of(stage, few, targets, model)
    for of in (rows.train, rows.dev):
        for site in stage.objective.teacher_sites:
            of.targets.load(site, model.network.device)
    start = fresh_adapter(model.network, configuration, 0)
    jobs = [Job(rows, start, EarlyStopping(few.n, few.seed, STEPS), rate, 0) for rate in (1e-3, 1e-2)]
    running = RunningStage(model.network, jobs, effect_of(configuration), STEPS)
    running.step()  # kernels are chosen and memory is taken when something is first run
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        running.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    running.evaluate_due()
    assert all(len(job.stopping.train_losses) == 2 for job in running.active)


def test_a_bank_in_bfloat16_is_as_near_to_float32_as_the_network_is(models, toy_task):
    cpu, gpu = models
    adapter = fresh_adapter(cpu.network, LoRA().configuration(cpu.network), 0)
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: tensor + torch.randn(tensor.shape, generator=generator) * 0.02 for name, tensor in adapter.weights.items()
    }
    adapter = type(adapter)(adapter.configuration, moved)
    rows = toy_task.evaluation[:12]
    half = tiny_language_model(gpu.network.to(torch.bfloat16))
    errors = []
    for chosen in (None, adapter):
        ours, truth = (
            torch.tensor([row.label_confidence for row in evaluate(model, rows, toy_task, adapter=chosen).predictions])
            for model in (half, cpu)
        )
        errors.append((ours - truth).abs().mean().item())
    assert errors[1] < 2 * errors[0] + 1e-3
