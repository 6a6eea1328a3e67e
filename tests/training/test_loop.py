import copy
from dataclasses import replace

import pytest
import torch
from recorded_progress import RecordedProgress

from benchmarks.dispatched import dispatched
from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA, LowRank
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.adapters.registry import effect_of
from ia2.adapters.vera import VeRA
from ia2.errors import FieldError, InputError
from ia2.models.load import LanguageModel
from ia2.models.recomputation import recomputed_feed_forward
from ia2.progress import SILENT
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import EarlyStopping, Training
from ia2.training.job import Job
from ia2.training.layer_weights import Layers
from ia2.training.loop import RunningStage, bank_size, clip, train_stage, trained_reader
from ia2.training.methods import ALIGN, FINE_TUNE, Stage
from ia2.training.objectives import Align, AlignAndMatch, MatchDistribution
from ia2.training.passes import TrainingPass, step_bytes
from ia2.training.student import Part, StageRows
from ia2.training.teacher import collect_targets

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


def test_as_many_adapters_share_a_bank_as_the_budget_holds(tiny_model, few, monkeypatch):
    jobs = jobs_of(tiny_model, few, (1e-3, 3e-3, 1e-2, 3e-2))
    reader = trained_reader(tiny_model.network, jobs[:1], LowRank(1.0))
    size = step_bytes(reader, Part(FINE_TUNE, jobs[0].rows.train, jobs[0].rows.train.longest(4)))
    said = RecordedProgress()
    # a device that a single adapter keeps busy gains nothing from larger banks
    monkeypatch.setattr("ia2.training.passes.CPU_BUSY_TOKENS", 1)
    fitting = [bank_size(tiny_model.network, jobs, LowRank(1.0), share * size, said) for share in (0.1, 2.5, 9.0)]
    assert fitting == [(1, False), (2, False), (4, False)]
    assert len(said.sentences) == 2
    assert "2 are trained at a time." in said.sentences[1]


def test_where_few_adapters_leave_the_device_idle_more_are_trained_with_blocks_that_keep_less(tiny_model, few):
    jobs = jobs_of(tiny_model, few, (1e-3, 3e-3, 1e-2, 3e-2))
    reader = trained_reader(tiny_model.network, jobs[:1], LowRank(1.0))
    part, said = Part(FINE_TUNE, jobs[0].rows.train, jobs[0].rows.train.longest(4)), RecordedProgress()
    plain = step_bytes(reader, part)
    with recomputed_feed_forward(tiny_model.network):
        less = step_bytes(reader, part)
    assert less < 0.9 * plain

    budgets = (3.99 * plain, 4.01 * less, 4.01 * plain)
    fitting = [bank_size(tiny_model.network, jobs, LowRank(1.0), budget, said) for budget in budgets]
    assert fitting == [(4, True), (4, True), (4, False)]
    assert len(said.sentences) == 2
    assert "all are trained together, with feed-forward blocks recomputed" in said.sentences[0]


def test_a_bank_is_read_with_gradients(tiny_model, few):
    reader = trained_reader(tiny_model.network, jobs_of(tiny_model, few, (1e-3,)), LowRank(1.0))
    assert reader.adapters.values.requires_grad
    assert reader.adapters.values.dtype == torch.float32


STAGES = [
    FINE_TUNE,
    ALIGN,
    Stage(Align(layers=Layers("0-1"), error="relative"), "icl-response"),
    Stage(AlignAndMatch(0.3), "icl-response"),
    Stage(MatchDistribution(top=3), "icl-response"),
]
KINDS = [
    LoRA(),
    LoRA(dropout=0.2),
    LoRA(dora=True),
    IA3(),
    VeRA(rank=8),
    PrefixTuning(tokens=3),
    PromptTuning(tokens=3),
    FullFineTuning(),
]


def running_stage(model: LanguageModel, few: FewShotSet, folder, stages, kind=LoRA()):  # noqa: B008 - a frozen value
    """Two adapters of each stage under way, as `train_stage` has them, with the teacher's targets in memory."""
    configuration = kind.configuration(model.network)
    fresh = fresh_adapter(model.network, configuration, few.seed)
    sites = sorted({site for stage in stages for site in stage.objective.teacher_sites}, key=str)
    targets = collect_targets(model, few, sites=sites, cache_dir=folder) if sites else None
    jobs = []
    for stage in stages:
        rows = StageRows.of(stage, few, targets, model.beside(kind.virtual_tokens))
        for of, site in ((of, site) for of in (rows.train, rows.dev) for site in stage.objective.teacher_sites):
            of.targets.load(site, model.network.device)
        for rate in (1e-3, 1e-2):
            jobs.append(Job(rows, fresh, EarlyStopping(few.n, few.seed, TRAINING), rate, 0))
    return RunningStage(model.network, jobs, effect_of(configuration), TRAINING)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_no_step_waits_for_the_device_and_a_dev_evaluation_once(tiny_model, few, tmp_path, kind):
    stage = running_stage(tiny_model, few, tmp_path, STAGES, kind)
    step = dispatched(stage.step)
    assert step.operations["sqrt"] >= 1, "an optimiser step was taken"
    assert not step.waits
    stage.step()
    assert dispatched(stage.evaluate_due).waits == {"tolist": 1}
    assert all(len(job.stopping.train_losses) == 2 for job in stage.active)


@pytest.mark.parametrize("made", STAGES, ids=repr)
def test_a_step_runs_where_no_number_can_be_read(tiny_model, few, tmp_path, made):
    # the meta device has no numbers at all: whatever reads one, or mixes it with the CPU, raises
    stage = running_stage(tiny_model, few, tmp_path, [made])
    network = copy.deepcopy(tiny_model.network).to("meta")
    for job in stage.active:
        for of, site in ((of, site) for of in (job.rows.train, job.rows.dev) for site in made.objective.teacher_sites):
            of.targets.let_go()
            of.targets.load(site, torch.device("meta"))
    away = RunningStage(network, stage.active, LowRank(1.0), TRAINING)
    away.step()
    away.step()
    assert [losses.device.type for losses in away.unread] == ["meta", "meta"]
    with pytest.raises(NotImplementedError, match="meta"):
        away.evaluate_due()


def test_gradients_are_clipped_as_torch_does_for_each_adapter_alone():
    gradient = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.01], [1.0], [9.0]])
    expected = []
    for row in gradient.clone():
        values = torch.nn.Parameter(torch.zeros(50))
        values.grad = row
        torch.nn.utils.clip_grad_norm_([values], 2.5)
        expected.append(values.grad)
    clip(gradient, 2.5)
    assert torch.allclose(gradient, torch.stack(expected), rtol=1e-5)
    assert (gradient.norm(dim=1) <= 2.5001).all()
    nothing = torch.zeros(1, 4)
    clip(nothing, 2.5)
    assert nothing.tolist() == [[0.0] * 4]


def test_a_clipped_stage_learns_otherwise(tiny_model, few):
    def weights(training):
        jobs = jobs_of(tiny_model, few, (1e-2,))
        ((adapter, _),) = train_stage(tiny_model.network, jobs, LowRank(1.0), training, "stage", SILENT)
        return torch.cat([value.flatten() for value in adapter.weights.values()])

    plain = weights(TRAINING)
    # Adam's steps don't depend on the gradient's size but for the ratio of one step's to the next's
    assert not torch.allclose(plain, weights(replace(TRAINING, clip=1e-3)))
    assert torch.equal(plain, weights(replace(TRAINING, clip=1e9)))
    with pytest.raises(FieldError, match="clip 0: this must be more than 0"):
        Training(clip=0.0)


def full_beyond(monkeypatch, rows, after):
    """A device that has no room for passes of more rows, once there were so many; gives the sizes of those that ran."""
    sizes, losses = [], TrainingPass.losses

    def limited(self, reader):
        count = sum(len(share.part.indices) for share in self.shares)
        if len(sizes) >= after and count > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore is said behind.")
        sizes.append(count)
        return losses(self, reader)

    monkeypatch.setattr(TrainingPass, "losses", limited)
    return sizes


@pytest.mark.parametrize(
    ("rows", "after", "sentences"),
    [
        (2, 0, ["2 of 3 adapters.", "1 of 3 adapters.", "1 of 3 adapters, 2 of its rows."]),
        # in the middle of the stage: behind two steps and two dev evaluations
        (8, 4, ["2 of 3 adapters."]),
        (4, 5, ["2 of 3 adapters.", "1 of 3 adapters."]),
    ],
)
def test_where_memory_runs_out_passes_are_halved_and_all_is_learnt_as_before(
    tiny_model, few, monkeypatch, rows, after, sentences
):
    rates = (1e-4, 1e-3, 1e-2)
    calm = train_stage(tiny_model.network, jobs_of(tiny_model, few, rates), LowRank(1.0), TRAINING, "stage", SILENT)
    said, sizes = RecordedProgress(), full_beyond(monkeypatch, rows, after)
    jobs = jobs_of(tiny_model, few, rates)
    outcomes = train_stage(tiny_model.network, jobs, LowRank(1.0), TRAINING, "stage", said)
    assert max(sizes[after:]) <= rows
    assert len(said.sentences) == len(sentences)
    for sentence, end in zip(said.sentences, sentences, strict=True):
        assert sentence.startswith("The device's memory ran out: ")
        assert sentence.endswith(end)
    for (adapter, history), (expected, expected_history) in zip(outcomes, calm, strict=True):
        assert (history.steps, history.kept_step, history.stopped_by) == (
            *(expected_history.steps, expected_history.kept_step),
            expected_history.stopped_by,
        )
        assert history.train_losses == pytest.approx(expected_history.train_losses, rel=1e-4)
        assert dict(history.dev_losses) == pytest.approx(dict(expected_history.dev_losses), rel=1e-4)
        for name, tensor in adapter.weights.items():
            torch.testing.assert_close(tensor, expected.weights[name], rtol=1e-2, atol=2e-5)


def test_where_one_row_of_one_adapter_does_not_fit_the_memory_is_named(tiny_model, few, monkeypatch):
    full_beyond(monkeypatch, 0, 2)
    with pytest.raises(InputError, match=r"memory is not enough for one row of one adapter \(CUDA out of memory"):
        train_stage(tiny_model.network, jobs_of(tiny_model, few, (1e-3,)), LowRank(1.0), TRAINING, "stage", SILENT)
