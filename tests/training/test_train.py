import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_network
from peft import IA3Config, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from recorded_progress import RecordedProgress

from ia2.adapters.adapter import attached, fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA, LowRank
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.errors import InputError
from ia2.models.architectures import attention_blocks
from ia2.models.reader import Reader
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.randomness import generator
from ia2.tasks.task import Example
from ia2.training import loop
from ia2.training import train as training_module
from ia2.training.early_stopping import Training
from ia2.training.methods import ALIGN, FINE_TUNE, IA2, IA2_THEN_SFT, METHODS, SFT, Method
from ia2.training.objectives import AlignAndMatch, MatchDistribution, MatchTokens
from ia2.training.passes import dev_passes, mean_losses, step_bytes
from ia2.training.plans import Plan
from ia2.training.student import Part, StageRows
from ia2.training.targets import TargetRows
from ia2.training.teacher import collect_targets
from ia2.training.train import dev_loss, selection_loss, train, train_all

SHORT = Training(epochs=4)


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


@pytest.fixture
def targets(tiny_model, few, tmp_path):
    return collect_targets(tiny_model, few, cache_dir=tmp_path, sites=[ATTENTION_OUTPUT, LOGITS])


def plain_loss(model, network, row, response, target, objective):
    """One row's loss written from the paper: equation 2, equation 4, both as the scripts weigh them, or a divergence.

    Args:
        network: PEFT's model, which may put virtual tokens before the prompt.
    """
    prompt = PromptTokenizer(model.tokenizer).prompt(row.query)
    ids = torch.tensor([prompt + tuple(response)])
    kept = []
    hooks = [
        block.register_forward_hook(lambda _m, _g, out: kept.append((out[0] if isinstance(out, tuple) else out)[0]))
        for block in attention_blocks(model.network)
    ]
    configuration = network.active_peft_config
    virtual = configuration.num_virtual_tokens if configuration.is_prompt_learning else 0
    if configuration.peft_type == "PREFIX_TUNING":  # transformers 5.24 has renamed what peft 0.21 hands it to
        positions = torch.arange(virtual, virtual + ids.shape[1])[None]
        mask = torch.ones(1, virtual + ids.shape[1], dtype=torch.long)
        base = network.get_base_model()
        logits = base(ids, cache=network.get_prompt(1), position_ids=positions, attention_mask=mask).logits[0]
    else:
        logits = network(ids).logits[0]
    for hook in hooks:
        hook.remove()
    span = slice(len(logits) - len(response) - 1, len(logits) - 1)
    token = torch.nn.functional.cross_entropy(logits[span], torch.tensor(response))
    if isinstance(objective, MatchTokens):
        return token
    matched = objective.match if isinstance(objective, AlignAndMatch) else objective
    if isinstance(matched, MatchDistribution):
        p, q = target.activations[LOGITS].softmax(-1), logits[span].softmax(-1)
        token = (p * (p.log() - q.log())).sum(-1).mean()
    if isinstance(objective, MatchDistribution):
        return token
    aligned = sum(
        ((kept[layer][span] - target.activations[ATTENTION_OUTPUT][:, layer]) ** 2).mean() for layer in range(len(kept))
    )
    return (1 - objective.beta) * aligned + objective.beta * token if hasattr(objective, "beta") else aligned


def plain_training(model, few, method, targets, rate, training, kind=LoRA()):  # noqa: B008 - a frozen value
    """The loop written from PROTOCOL with PEFT, one example at a time with gradient accumulation."""
    start = fresh_adapter(model.network, kind.configuration(model.network), few.seed)
    state, history = dict(start.weights), []
    tokens = PromptTokenizer(model.tokenizer)
    for stage in method.stages:
        peft_model = get_peft_model(model.network, start.configuration).eval()
        set_peft_model_state_dict(peft_model, state)
        parameters = [parameter for parameter in peft_model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(parameters, lr=rate)

        def loss_of(part, index, stage=stage, peft_model=peft_model):
            row, target = getattr(few, part)[index], getattr(targets, part)[index]
            own = tokens.response(row.query, row.response)
            response = own if stage.labels == "ground-truth" else target.tokens.tolist()
            return plain_loss(model, peft_model, row, response, target, stage.objective)

        best, stale, step, over, losses = math.inf, 0, 0, False, []
        for epoch in range(training.epochs):
            order = list(range(few.n))
            generator(few.seed, f"order of epoch {epoch}").shuffle(order)
            batches = [order[start : start + 4] for start in range(0, few.n, 4)]
            for place, batch in enumerate(batches):
                optimiser.zero_grad()
                for index in batch:
                    (loss_of("train", index) / len(batch)).backward()
                optimiser.step()
                step += 1
                if step % 2 == 0 or place == len(batches) - 1:
                    with torch.no_grad():
                        dev = sum(loss_of("dev", index).item() for index in range(len(few.dev))) / len(few.dev)
                    losses.append(dev)
                    if dev < best:
                        best, stale = dev, 0
                        state = {
                            name: tensor.detach().clone()
                            for name, tensor in get_peft_model_state_dict(
                                peft_model, save_embedding_layers=False
                            ).items()
                        }
                    else:
                        stale += 1
                    over = stale >= training.patience
                if over:
                    break
            if over:
                break
        if not start.configuration.is_prompt_learning:
            peft_model.unload()
        history.append((step, losses))
    return state, history


def same_course(trained, state, history):
    for stage, (steps, dev_losses) in zip(trained.stages, history, strict=True):
        assert stage.steps == steps
        assert [loss for _, loss in stage.dev_losses] == pytest.approx(dev_losses, abs=2e-5, rel=2e-5)
    assert distance(trained.adapter.weights, state) < 2e-6


DESCENDED = {
    name: method
    for name, method in METHODS.items()
    if all(stage.rows == "all" and not stage.solved and not stage.steps_of for stage in method.stages)
}


@pytest.mark.parametrize("method", DESCENDED.values(), ids=DESCENDED)
def test_training_equals_a_plain_loop_with_peft(tiny_model, few, targets, method):
    trained = train(tiny_model, few, method, learning_rate=3e-3, targets=targets, training=SHORT)
    same_course(trained, *plain_training(tiny_model, few, method, targets, 3e-3, SHORT))


def test_contexts_are_distilled_on_texts_alone_as_by_a_plain_loop_over_them(tiny_model, few, tmp_path):
    texts = tuple(f"Text:the {thing} was so\nLabel:" for thing in ("film", "room", "soup", "song", "walk"))
    few = replace(few, unlabelled=texts)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path, sites=[LOGITS])
    method = METHODS["context-distillation"]
    trained = train(tiny_model, few, method, learning_rate=3e-3, targets=targets, training=SHORT)
    alone = replace(few, train=tuple(Example(text, "0") for text in texts), unlabelled=())
    theirs = SimpleNamespace(train=targets.unlabelled, dev=targets.dev)
    same_course(trained, *plain_training(tiny_model, alone, method, theirs, 3e-3, SHORT))


KINDS = [
    LoRA(dora=True),
    LoRA(rslora=True),
    IA3(),
    IA3(scale="input"),
    PromptTuning(),
    PrefixTuning(),
    FullFineTuning(),
]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_of_adapter_is_trained_as_by_a_plain_loop_with_peft(tiny_model, few, targets, kind):
    rate = kind.learning_rates[1]
    # peft leaves modules that it trains whole in the network
    tiny_model = replace(tiny_model, network=tiny_network("llama"))
    trained = train(tiny_model, few, IA2_THEN_SFT, learning_rate=rate, targets=targets, training=SHORT, adapter=kind)
    same_course(trained, *plain_training(tiny_model, few, IA2_THEN_SFT, targets, rate, SHORT, kind))


SIX = ("sft", "ia2", "ia2-sft", "sft-ia2", "ia2+sft", "sft-soft")
FIVE = [LoRA(), IA3(), PromptTuning(), PrefixTuning(), FullFineTuning()]


@pytest.mark.parametrize("kind", FIVE, ids=repr)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_six_methods_train_five_adapters_on_four_architectures(tiny_model, few, tmp_path, architecture, kind):
    model = replace(tiny_model, network=tiny_network(architecture))
    before = {name: parameter.clone() for name, parameter in model.network.named_parameters()}
    targets = collect_targets(model, few, cache_dir=tmp_path / "cache", sites=[ATTENTION_OUTPUT, LOGITS])
    methods = [METHODS[name].candidates((0.5,))[0] for name in SIX]
    plans = [Plan(few, method, kind.learning_rates[1], targets) for method in methods]
    trained = train_all(model, plans, training=Training(epochs=2), adapter=kind)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.network.named_parameters())
    tokens = PromptTokenizer(model.tokenizer)
    for method, one in zip(methods, trained, strict=True):
        # as PEFT runs what was saved, the dev loss is that at which it was kept: positions are right, tensors too
        one.save(tmp_path / method.name)
        again = tiny_network(architecture)
        theirs = PeftModel.from_pretrained(again, str(tmp_path / method.name)).eval()
        stage, losses = method.stages[-1], []
        for row, target in zip(few.dev, targets.dev, strict=True):
            own = tokens.response(row.query, row.response)
            response = own if stage.labels == "ground-truth" else target.tokens.tolist()
            with torch.no_grad():
                loss = plain_loss(replace(model, network=again), theirs, row, response, target, stage.objective)
            losses.append(loss.item())
        assert sum(losses) / len(losses) == pytest.approx(one.dev_loss, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("kind", [*KINDS, LoRA(dropout=0.3)], ids=repr)
def test_every_kind_is_trained_in_a_bank_as_alone(tiny_model, few, targets, kind):
    plans = [Plan(few, method, rate, targets) for method in (SFT, IA2) for rate in kind.learning_rates[:2]]
    together = train_all(tiny_model, plans, training=SHORT, adapter=kind)
    for plan, banked in zip(plans, together, strict=True):
        (alone,) = train_all(tiny_model, [plan], training=SHORT, adapter=kind)
        assert [stage.best_step for stage in alone.stages] == [stage.best_step for stage in banked.stages]
        equal(alone, banked, within=1e-6)


def test_dropout_is_the_same_however_many_rows_share_a_pass_and_changes_what_is_learnt(tiny_model, few, targets):
    def trained(dropout, **changes):
        return train(
            tiny_model,
            few,
            IA2_THEN_SFT,
            learning_rate=1e-3,
            targets=targets,
            training=replace(SHORT, **changes),
            adapter=LoRA(dropout=dropout),
        )

    whole = trained(0.3)
    equal(whole, trained(0.3, rows_per_pass=1), within=1e-6)
    assert distance(whole.adapter.weights, trained(0.0).adapter.weights) > 1e-4


def test_a_stage_may_have_a_rate_and_epochs_of_its_own(tiny_model, few, targets):
    own = Method("own", "", (replace(FINE_TUNE, learning_rate=1e-3, epochs=1), ALIGN))
    assert own.has_learning_rate
    one, other = (
        train(tiny_model, few, own, learning_rate=rate, targets=targets, training=SHORT) for rate in (1.0, 2.0)
    )
    assert (
        one.stages[0]
        == other.stages[0]
        == replace(train(tiny_model, few, SFT, learning_rate=1e-3, training=Training(epochs=1)).stages[0])
    )
    assert [stage.steps for stage in one.stages] == [2, 8]
    assert one.stages[1] != other.stages[1]


def test_the_kept_adapter_is_the_best_by_dev_loss_byte_for_byte(tiny_model, few, targets):
    # a learning rate that overshoots, so that the last adapter is not the best
    long = train(tiny_model, few, SFT, learning_rate=0.1, training=Training(epochs=20))
    (stage,) = long.stages
    assert stage.stopped_by == "patience"
    assert stage.best_step < stage.steps
    assert long.dev_loss == min(loss for _, loss in stage.dev_losses)
    # trained again and made to end exactly there, it is the same
    until_best = Training(epochs=stage.best_step // 2, keep="last")
    again = train(tiny_model, few, SFT, learning_rate=0.1, training=until_best)
    assert again.stages[0].steps == stage.best_step
    assert all(torch.equal(long.adapter.weights[name], again.adapter.weights[name]) for name in long.adapter.weights)
    # and it has the dev loss that it was kept for
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).dev
    with attached(tiny_model.network, long.adapter):
        reader = Reader(tiny_model.network)
        parts = [Part(FINE_TUNE, rows, range(len(rows.sequences)))]
        loss = mean_losses(reader, dev_passes(reader, parts), 1).item()
    assert loss == pytest.approx(long.dev_loss, rel=1e-5)
    last = train(tiny_model, few, SFT, learning_rate=0.1, training=Training(epochs=20, keep="last"))
    assert any(not torch.equal(long.adapter.weights[n], last.adapter.weights[n]) for n in last.adapter.weights)
    assert last.dev_loss == pytest.approx(dev_loss(tiny_model, FINE_TUNE, rows, last.adapter), rel=1e-5)
    assert last.dev_loss > long.dev_loss


def test_a_last_adapter_that_is_no_number_is_never_kept_however_good_one_before_it_was(tiny_model, few):
    (trained,) = train_all(tiny_model, [Plan(few, SFT, 1e3)], training=Training(epochs=10, keep="last"))
    (stage,) = trained.stages
    assert math.isfinite(stage.dev_losses[0][1])
    assert (trained.diverged, trained.dev_loss) == (True, math.inf)
    assert all(tensor.isfinite().all() for tensor in trained.adapter.weights.values())


def test_a_stage_that_two_methods_share_is_trained_once(tiny_model, few, targets):
    done = {}
    first = train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=SHORT, done=done)
    both = train(tiny_model, few, IA2_THEN_SFT, learning_rate=1e-2, targets=targets, training=SHORT, done=done)
    assert both.stages[0] is first.stages[0]
    alone = train(tiny_model, few, IA2_THEN_SFT, learning_rate=1e-2, targets=targets, training=SHORT)
    assert alone.stages == both.stages
    assert all(torch.equal(alone.adapter.weights[name], both.adapter.weights[name]) for name in both.adapter.weights)


def test_what_was_trained_otherwise_is_trained_again(tiny_model, few, tmp_path):
    short = Training(epochs=1)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    done = {}

    def trained(model=tiny_model, **changes):
        chosen = {"targets": targets, "training": short, "done": done} | changes
        return train(model, few, IA2, learning_rate=1e-2, **chosen)

    first = trained()
    # equal ones that were made or read again change nothing
    same = trained(targets=collect_targets(tiny_model, few, cache_dir=tmp_path), training=Training(epochs=1))
    assert same is first
    other = collect_targets(tiny_model, few, cache_dir=tmp_path, sites=[ATTENTION_OUTPUT, LOGITS])
    elsewhere = replace(tiny_model, identity=replace(tiny_model.identity, sha256="1" * 64))
    assert isinstance(trained(adapter=IA3()).adapter.configuration, IA3Config)
    assert trained(training=Training(epochs=2)).stages[0].steps == 2 * first.stages[0].steps
    assert trained(targets=other) is not first
    assert trained(elsewhere) is not first
    assert len(done) == 5


def test_targets_that_a_stage_does_not_read_do_not_keep_it_from_being_shared(tiny_model, few, targets):
    done = {}
    first = train(tiny_model, few, SFT, learning_rate=1e-2, training=SHORT, done=done)
    assert train(tiny_model, few, SFT, learning_rate=1e-2, targets=targets, training=SHORT, done=done) is first


def test_training_is_the_same_bytes_each_time_and_leaves_the_network_alone(tiny_model, few, targets):
    before = {name: parameter.clone() for name, parameter in tiny_model.network.named_parameters()}
    one, other = (train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=SHORT) for _ in range(2))
    assert one.stages == other.stages
    assert all(torch.equal(one.adapter.weights[name], other.adapter.weights[name]) for name in one.adapter.weights)
    assert all(torch.equal(parameter, before[name]) for name, parameter in tiny_model.network.named_parameters())


def test_alignment_brings_attention_nearer_to_the_teachers(tiny_model, few, targets):
    trained = train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=Training(epochs=20))
    assert trained.stages[0].train_losses[-1] < 0.8 * trained.stages[0].train_losses[0]


def test_training_that_diverges_is_said(tiny_model, few):
    with pytest.raises(FloatingPointError, match=r"sft diverged at learning rate 1e\+30"):
        train(tiny_model, few, SFT, learning_rate=1e30)


def test_one_that_diverges_is_left_as_it_was_and_the_others_go_on(tiny_model, few, targets):
    plans = [Plan(few, method, rate, targets) for method in (IA2_THEN_SFT, SFT) for rate in (1e30, 1e-3)]
    broken, sound, *_ = trained = train_all(tiny_model, plans, training=Training(epochs=2))
    assert [one.diverged for one in trained] == [True, False, True, False]
    assert broken.dev_loss == math.inf
    assert [stage.stopped_by for stage in broken.stages] == ["diverged"]  # and nothing is trained after it
    fresh = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), few.seed)
    assert all(torch.equal(tensor, fresh.weights[name]) for name, tensor in broken.adapter.weights.items())
    equal(
        sound,
        train(tiny_model, few, IA2_THEN_SFT, learning_rate=1e-3, targets=targets, training=Training(epochs=2)),
        1e-6,
    )


def distance(one, other):
    """How far two adapters are from each other, as a share of how large they are."""
    assert one.keys() == other.keys()
    a, b = (torch.cat([weights[name].flatten() for name in one]) for weights in (one, other))
    return ((a - b).norm() / a.norm()).item()


def equal(one, other, within=0.0):
    assert distance(one.adapter.weights, other.adapter.weights) <= within


def test_a_bank_of_six_is_six_banks_of_one(tiny_model, toy_task, tmp_path):
    sets = [FewShotSet.draw(toy_task, n, seed) for n, seed in ((6, 1), (9, 2))]
    asked = [collect_targets(tiny_model, few, cache_dir=tmp_path) for few in sets]
    plans = [
        Plan(few, method, rate, targets)
        for few, targets in zip(sets, asked, strict=True)
        for method, rate in ((SFT, 1e-3), (IA2, 3e-4), (IA2_THEN_SFT, 1e-4))
    ]
    training = Training(epochs=8)
    together = train_all(tiny_model, plans, training=training)
    steps = set()
    for plan, banked in zip(plans, together, strict=True):
        (alone,) = train_all(tiny_model, [plan], training=training)
        for one, other in zip(alone.stages, banked.stages, strict=True):
            assert (one.objective, one.steps, one.best_step, one.stopped_by) == (
                other.objective, other.steps, other.best_step, other.stopped_by
            )  # fmt: skip
            assert one.train_losses == pytest.approx(other.train_losses, rel=1e-5, abs=1e-6)
            assert [loss for _, loss in one.dev_losses] == pytest.approx(
                [loss for _, loss in other.dev_losses], rel=1e-5, abs=1e-6
            )
            steps.add(one.steps)
        equal(alone, banked, within=1e-6)
    assert len(steps) > 1  # some have left the bank before others


def test_adapters_that_have_stopped_leave_the_batch(tiny_model, few, monkeypatch):
    sizes = []
    plain = Bank.attached
    monkeypatch.setattr(
        Bank, "attached", lambda self, *rest, **named: sizes.append(len(self)) or plain(self, *rest, **named)
    )
    trained = train_all(
        tiny_model, [Plan(few, SFT, 0.3), Plan(few, SFT, 1e-5)], training=Training(epochs=12, patience=2)
    )
    steps = [one.stages[0].steps for one in trained]
    assert steps[0] != steps[1]
    assert max(sizes) == 2
    assert sizes[-1] == 1


def test_a_stage_with_which_two_plans_begin_is_trained_once(tiny_model, few, targets, monkeypatch):
    trained = []
    plain = training_module.train_stage
    monkeypatch.setattr(
        training_module,
        "train_stage",
        lambda network, jobs, *rest: trained.append(len(jobs)) or plain(network, jobs, *rest),
    )
    plans = [Plan(few, method, rate, targets) for method in (SFT, IA2, IA2_THEN_SFT) for rate in (1e-3, 1e-2)]
    results = train_all(tiny_model, plans, training=SHORT)
    assert trained == [4, 2]
    assert results[2].stages[0] is results[4].stages[0]
    assert [one.learning_rate for one in results] == [1e-3, 1e-2] * 3


def test_a_bank_that_would_not_fit_is_split_and_that_is_said(tiny_model, few, targets, monkeypatch):
    sizes, said = [], RecordedProgress()

    def counted(network, jobs, *rest, plain=training_module.train_stage):
        sizes.append(len(jobs))
        return plain(network, jobs, *rest)

    monkeypatch.setattr(training_module, "train_stage", counted)
    plans = [Plan(few, method, rate, targets) for method in (SFT, IA2) for rate in (1e-3, 1e-2, 1e-1)]
    together = train_all(tiny_model, plans, training=SHORT)
    assert sizes == [6]
    memory = 4.5 * _bytes_of_one(tiny_model, few, targets)
    recomputed = train_all(tiny_model, plans, training=SHORT, memory=memory, progress=said)
    assert sizes[1:] == [5, 1]
    assert "5 are trained at a time, with feed-forward blocks recomputed" in said.sentences[0]
    # where four adapters keep the device busy, nothing is gained by computing anything twice
    monkeypatch.setattr("ia2.training.passes.CPU_BUSY_TOKENS", 1)
    split = train_all(tiny_model, plans, training=SHORT, memory=memory, progress=said)
    assert sizes[3:] == [4, 2]
    assert "4 are trained at a time." in said.sentences[1]
    for one, *others in zip(together, split, recomputed, strict=True):
        for other in others:
            assert one.stages[0].train_losses[0] == pytest.approx(other.stages[0].train_losses[0], rel=1e-5)
            if one.learning_rate == 1e-3:  # at larger rates rounding grows with every step
                assert one.stages[0].dev_loss == pytest.approx(other.stages[0].dev_loss, rel=1e-3)
    train_all(tiny_model, plans[:2], training=SHORT, memory=1.0)
    assert sizes[5:] == [1, 1]


def test_targets_are_read_once_a_stage_and_from_disk_where_they_do_not_fit_and_that_is_said(
    tiny_model, few, targets, monkeypatch
):
    read = []
    plain = TargetRows.load
    monkeypatch.setattr(TargetRows, "load", lambda self, *rest: read.append(len(self)) or plain(self, *rest))
    plans = [Plan(few, IA2, rate, targets) for rate in (1e-3, 1e-2)]
    at_hand = train_all(tiny_model, plans, training=SHORT)
    assert read == [few.n, len(few.dev)]
    said = RecordedProgress()
    from_disk = train_all(tiny_model, plans, training=SHORT, memory=1.0, progress=said)
    assert len(read) == 2
    assert "they are read from disk at each step" in said.sentences[0]
    for one, other in zip(at_hand, from_disk, strict=True):
        equal(one, other, within=1e-6)


@pytest.mark.parametrize(("rows_per_pass", "measured"), [(None, 4), (1, 1), (3, 3), (9, 4)])
def test_the_memory_that_is_measured_is_that_of_a_pass(tiny_model, few, monkeypatch, rows_per_pass, measured):
    rows = []
    monkeypatch.setattr(loop, "step_bytes", lambda _reader, part: rows.append(len(part.indices)) or 1)
    training = Training(epochs=1, rows_per_pass=rows_per_pass)
    train_all(tiny_model, [Plan(few, SFT, rate) for rate in (1e-3, 1e-2)], training=training, memory=2.0)
    assert rows == [measured]


def _bytes_of_one(model, few, targets):
    fresh = fresh_adapter(model.network, LoRA().configuration(model.network), few.seed)
    bank = Bank(model.network, [fresh.weights], LowRank(1.0))
    bank.values.requires_grad_(True)
    most = []
    for stage in (FINE_TUNE, ALIGN):
        rows = StageRows.of(stage, few, targets, model).train
        longest = sorted(range(6), key=lambda index: -len(rows.sequences[index].inputs))[:4]
        most.append(step_bytes(Reader(model.network, bank), Part(stage, rows, longest)))
    return max(most)


def test_a_solution_that_is_no_number_diverged_and_leaves_what_it_began_with(tiny_model, few, targets, monkeypatch):
    def spoilt(model, rows, start):
        return replace(start, weights={name: tensor * torch.nan for name, tensor in start.weights.items()})

    monkeypatch.setattr(training_module, "solved", spoilt)
    (trained,) = train_all(tiny_model, [Plan(few, METHODS["ia2-solved-sft"], 1e-3, targets)], training=SHORT)
    assert trained.diverged
    assert [stage.stopped_by for stage in trained.stages] == ["diverged"]
    start = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), few.seed)
    assert all(torch.equal(trained.adapter.weights[name], tensor) for name, tensor in start.weights.items())


def test_fine_tuning_takes_as_many_steps_as_two_stages(tiny_model, few, targets):
    plans = [Plan(few, METHODS[name], 3e-2, targets) for name in ("sft-long", "ia2-sft", "sft")]
    long, both, plain = train_all(tiny_model, plans, training=Training(epochs=6, patience=2))
    steps = sum(stage.steps for stage in both.stages)
    assert long.stages[0].steps == steps > plain.stages[0].steps
    assert long.stages[0].stopped_by == "steps"
    # it goes as fine-tuning goes until that would stop
    count = len(plain.stages[0].train_losses)
    assert long.stages[0].train_losses[:count] == pytest.approx(plain.stages[0].train_losses, rel=1e-4)
    alone = train(tiny_model, few, METHODS["sft-long"], learning_rate=3e-2, targets=targets,
                  training=Training(epochs=6, patience=2))  # fmt: skip
    assert alone.stages[0].steps == steps


def test_a_dev_rows_own_response_that_does_not_fit_behind_virtual_tokens_is_refused(tiny_model, toy_texts, tmp_path):
    # the teacher's response is shorter, so that training had room for it
    few = FewShotSet.draw(toy_texts, 2)
    row = few.dev[0]
    room = 510 - len(PromptTokenizer.of(tiny_model, few.task).sequence(row.query, "").prompt)
    few = replace(few, dev=(replace(row, response="x" * room),))
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    method, kind = METHODS["ia2+sft"], PromptTuning(tokens=3)
    trained = train(tiny_model, few, method, learning_rate=1e-3, targets=targets, adapter=kind, training=SHORT)
    with pytest.raises(InputError, match="the model reads 509"):
        selection_loss(tiny_model, few, method, trained)


def test_alignment_on_the_rows_own_responses_compares_with_the_teacher_that_reads_them(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(toy_texts, 3)
    method = Method("mine", "", (replace(ALIGN, labels="ground-truth"),))
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="reads the teacher on the rows' own responses"):
        Plan(few, method, 1e-3, targets)
    read = collect_targets(tiny_model, few, cache_dir=tmp_path, on_responses=True)
    both = replace(targets, on_responses=read)
    trained = train(tiny_model, few, method, learning_rate=1e-3, targets=both, training=Training(epochs=1))
    rows = StageRows.of(method.stages[0], few, both, tiny_model)
    tokenizer = PromptTokenizer.of(tiny_model, few.task)
    assert [sequence.response for sequence in rows.dev.sequences] == [
        tokenizer.sequence(row.query, row.response).response for row in few.dev
    ]
    assert trained.stages[0].steps == 1
    # before the first step the loss is the distance of the model alone from what it does in context
    student = Reader(tiny_model.network).activations(rows.train.sequences, [ATTENTION_OUTPUT])
    distances = [
        (ours[ATTENTION_OUTPUT] - target.activations[ATTENTION_OUTPUT]).square().mean().item() * 3
        for ours, target in zip(student, read.train, strict=True)
    ]
    assert trained.stages[0].train_losses[0] == pytest.approx(sum(distances) / 3, rel=1e-4)
