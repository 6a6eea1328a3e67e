from dataclasses import replace

import pytest
import torch
from conftest import tiny_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ia2.adapters.adapter import adapted, fresh_adapter
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.shift import BIAS, Shift
from ia2.errors import InputError
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.training.closed_form import RIDGES, cut, ridge, solved
from ia2.training.methods import ALIGN, FINE_TUNE, SOLVE, SOLVED, SOLVED_THEN_SFT
from ia2.training.plans import Plan
from ia2.training.student import StageRows
from ia2.training.teacher import collect_targets
from ia2.training.train import dev_loss, train, train_all


@settings(deadline=None)
@given(rows=st.integers(2, 20), inputs=st.integers(1, 12), outputs=st.integers(1, 5), seed=st.integers(0, 99))
def test_coefficients_are_those_of_the_normal_equations_with_the_best_penalty_on_dev_rows(rows, inputs, outputs, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows + 3, inputs, generator=generator, dtype=torch.float64)
    y = torch.randn(rows + 3, outputs, generator=generator, dtype=torch.float64)
    is_dev = torch.arange(rows + 3) >= rows
    left, right = ridge(x, y, is_dev)
    gram = x[:rows].T @ x[:rows]
    scale = gram.trace() / min(rows, inputs)  # the mean diagonal of the smaller system
    expected = [
        torch.linalg.solve(gram + penalty * scale * torch.eye(inputs, dtype=x.dtype), x[:rows].T @ y[:rows])
        for penalty in RIDGES
    ]
    errors = [(x[rows:] @ one - y[rows:]).square().sum().item() for one in expected]
    found = left @ right
    assert (x[rows:] @ found - y[rows:]).square().sum().item() == pytest.approx(min(errors), rel=1e-6)
    assert min((found - one).abs().max().item() for one in expected) < 1e-7 * max(1, found.abs().max().item()) * 10


def test_a_product_is_cut_to_its_largest_singular_values():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((9, 6), (6, 7)))
    down, up = cut(left, right, torch.ones(3, 9, dtype=torch.float64), 0.5)
    u, s, vt = torch.linalg.svd((left @ right).T)
    assert_close(0.5 * up @ down, u[:, :3] @ torch.diag(s[:3]) @ vt[:3])
    # where there is less than the rank, the rest of A stays and B is zero
    down, up = cut(left[:, :2], right[:2], torch.ones(3, 9, dtype=torch.float64), 0.5)
    assert_close(0.5 * up @ down, (left[:, :2] @ right[:2]).T)
    assert torch.equal(down[2], torch.ones(9, dtype=torch.float64))
    assert not up[:, 2].any()


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


def rows_of(model, few, tmp_path, stage=SOLVE):
    return StageRows.of(stage, few, collect_targets(model, few, cache_dir=tmp_path), model)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "opt"])
def test_the_solution_aligns_far_better_and_changes_output_projections_alone(tiny_model, few, tmp_path, architecture):
    network_model = replace(tiny_model, network=tiny_network(architecture))
    rows = rows_of(network_model, few, tmp_path)
    fresh = fresh_adapter(network_model.network, LoRA().configuration(network_model.network), 0)
    adapter = solved(network_model, rows, fresh)
    before, after = (dev_loss(network_model, ALIGN, rows.train, one) for one in (fresh, adapter))
    assert after < 0.5 * before
    assert dev_loss(network_model, ALIGN, rows.dev, adapter) < dev_loss(network_model, ALIGN, rows.dev, fresh)
    changed = {name for name, tensor in adapter.weights.items() if not torch.equal(tensor, fresh.weights[name])}
    assert changed
    assert all(name.endswith("lora_B.weight") or name.endswith("lora_A.weight") for name in changed)
    assert not any("q_proj" in name or "k_proj" in name or "c_attn" in name for name in changed)
    assert not any(module._forward_hooks for module in network_model.network.modules())


def test_the_first_layer_is_the_ridge_regression_of_what_is_missing(tiny_model, few, tmp_path):
    rows = rows_of(tiny_model, few, tmp_path)
    network = tiny_model.network
    fresh = fresh_adapter(network, LoRA(rank=32).configuration(network), 0)
    adapter = solved(tiny_model, rows, fresh)
    inputs, outputs = [], []
    for part in (rows.train, rows.dev):
        for sequence, target in zip(part.sequences, part.targets, strict=True):
            kept = []
            handle = network.model.layers[0].self_attn.o_proj.register_forward_hook(
                lambda _m, given, output, kept=kept: kept.append((given[0][0, -1], output[0, -1]))
            )
            network(torch.tensor([sequence.inputs]))
            handle.remove()
            ((hidden, output),) = kept
            inputs.append(hidden.double())
            outputs.append(target.activations[ATTENTION_OUTPUT][0, 0].double() - output.double())
    is_dev = torch.arange(len(inputs)) >= few.n
    left, right = ridge(torch.stack(inputs), torch.stack(outputs), is_dev)
    prefix = "base_model.model.model.layers.0.self_attn.o_proj.lora_"
    scaling = 8 / 32
    ours = scaling * adapter.weights[prefix + "B.weight"] @ adapter.weights[prefix + "A.weight"]
    assert_close(ours.double(), (left @ right).T, atol=1e-4, rtol=1e-3)


def test_solving_goes_on_from_an_adapter_and_gradients_from_a_solution(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    rows = rows_of(tiny_model, few, tmp_path)
    trained = train(tiny_model, few, SOLVED_THEN_SFT, learning_rate=1e-3, targets=targets)
    assert trained.stages[0].stopped_by == "solved"
    assert trained.stages[1].steps > 0
    again = solved(tiny_model, rows, trained.adapter)
    assert dev_loss(tiny_model, ALIGN, rows.train, again) < dev_loss(tiny_model, ALIGN, rows.train, trained.adapter)
    one, other = train_all(tiny_model, [Plan(few, SOLVED, rate, targets) for rate in (1e-3, 1e-2)])
    assert one is other
    assert one.learning_rate is None


def test_only_low_rank_updates_of_the_output_projection_can_be_solved_for(tiny_model, few, tmp_path):
    rows = rows_of(tiny_model, few, tmp_path)
    for kind in (IA3(), LoRA(modules=("query",)), LoRA(dora=True)):
        fresh = fresh_adapter(tiny_model.network, kind.configuration(tiny_model.network), 0)
        with pytest.raises(InputError, match="use LoRA with output among its modules"):
            solved(tiny_model, rows, fresh)
    assert FINE_TUNE.solved is False


def test_responses_of_many_tokens_are_solved_for_with_each_row_counting_once(tiny_model, toy_texts, tmp_path):
    few = FewShotSet.draw(toy_texts, 4)
    rows = rows_of(tiny_model, few, tmp_path)
    assert max(len(sequence.response) for sequence in rows.train.sequences) > 1
    fresh = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), 0)
    adapter = solved(tiny_model, rows, fresh)
    assert dev_loss(tiny_model, ALIGN, rows.train, adapter) < 0.7 * dev_loss(tiny_model, ALIGN, rows.train, fresh)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "opt"])
def test_a_shift_brings_every_layers_mean_to_the_teachers(tiny_model, few, tmp_path, architecture):
    model = replace(tiny_model, network=tiny_network(architecture))
    rows = rows_of(model, few, tmp_path)
    adapter = solved(model, rows, fresh_adapter(model.network, Shift().configuration(model.network), 0))
    # the mean of training rows at each layer, as the shifted network computes it, is that in context
    sequences = rows.train.sequences
    with adapted(model, [adapter]) as reader:
        read = reader.activations(sequences, [ATTENTION_OUTPUT])
    ours = torch.stack([activations[ATTENTION_OUTPUT].mean(0) for activations in read]).mean(0)
    theirs = torch.stack([target.activations[ATTENTION_OUTPUT].mean(0) for target in rows.train.targets]).mean(0)
    assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert not any(tensor.any() for name, tensor in adapter.weights.items() if not name.endswith(BIAS))


def test_the_mean_shift_of_the_first_layer_worked_by_hand(tiny_model, few, tmp_path):
    rows = rows_of(tiny_model, few, tmp_path)
    fresh = fresh_adapter(tiny_model.network, Shift().configuration(tiny_model.network), 0)
    name = next(name for name in fresh.weights if ".layers.0." in name and name.endswith(BIAS))
    differences = []
    for row, target in zip(few.train, rows.train.targets, strict=True):
        kept = []
        hook = tiny_model.network.model.layers[0].self_attn.o_proj.register_forward_hook(
            lambda _m, _g, output, kept=kept: kept.append(output[0, -1])
        )
        with torch.no_grad():
            tiny_model.network(torch.tensor([tiny_model.tokenizer(row.query)["input_ids"]]))
        hook.remove()
        differences.append(target.activations[ATTENTION_OUTPUT][0, 0] - kept[0])
    assert_close(solved(tiny_model, rows, fresh).weights[name], torch.stack(differences).mean(0), atol=1e-5, rtol=1e-4)
