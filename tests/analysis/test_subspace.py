import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.prompt import PromptTuning
from ia2.analysis.subspace import overlap_of, subspace_overlap, update_basis
from ia2.errors import InputError

MODULES = ("layers.0.self_attn.q_proj", "layers.0.self_attn.o_proj", "layers.1.self_attn.q_proj")


def adapter_of(factors, rank):
    """A LoRA adapter with these B and A on modules in turn."""
    weights = {}
    for path, (b, a) in zip(MODULES, factors, strict=False):
        weights |= {f"base_model.model.model.{path}.lora_A.weight": a}
        weights |= {f"base_model.model.model.{path}.lora_B.weight": b}
    return Adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["q_proj", "o_proj"]), weights)


def drawn(seed, out=9, rank=3, inputs=7):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(out, rank, generator=generator, dtype=torch.float64),
        torch.randn(rank, inputs, generator=generator, dtype=torch.float64),
    )


def dense_overlap(first, second, rank):
    """By the singular vectors of the whole updates."""
    u = [torch.linalg.svd(b @ a).U[:, :rank] for b, a in (first, second)]
    return float(torch.linalg.matrix_norm(u[0].T @ u[1]) ** 2 / rank)


def basis_overlap(first, second, rank):
    return overlap_of(update_basis(*first), update_basis(*second), rank=rank)


def test_overlap_worked_by_hand():
    eye = torch.eye(4)
    reads = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    half = torch.stack((eye[:, 0], (eye[:, 1] + eye[:, 2]) / 2**0.5), 1)  # one axis of two, and another at 45 degrees
    ours = adapter_of([(eye[:, :2], reads)] * 3, 2)
    theirs = adapter_of([(5 * eye[:, :2], reads), (eye[:, 2:], reads), (half, reads)], 2)
    found = subspace_overlap(ours, theirs)
    assert found.by_module == pytest.approx(
        {(0, "self_attn.q_proj"): 1.0, (0, "self_attn.o_proj"): 0.0, (1, "self_attn.q_proj"): 0.75}
    )
    assert found.by_layer == pytest.approx({0: 0.5, 1: 0.75})
    assert found.mean == pytest.approx(1.75 / 3)


@pytest.mark.parametrize(("out", "rank", "inputs"), [(9, 3, 7), (20, 8, 5), (6, 8, 30), (5, 5, 5)])
def test_overlap_is_that_of_the_whole_updates(out, rank, inputs):
    kept = min(out, rank, inputs)
    first, second = drawn(1, out, rank, inputs), drawn(2, out, rank, inputs)
    found = subspace_overlap(adapter_of([first], rank), adapter_of([second], rank)).mean
    assert found == pytest.approx(dense_overlap(first, second, kept) * kept / rank, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_overlap_is_symmetric_within_range_and_one_with_itself(one, other):
    first, second = drawn(one), drawn(other)
    there, back = basis_overlap(first, second, 3), basis_overlap(second, first, 3)
    assert there == pytest.approx(back, abs=1e-12)
    assert 0 <= there <= 1
    assert basis_overlap(first, first, 3) == pytest.approx(1)


@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_overlap_does_not_depend_on_how_the_update_is_factored(seed, scale):
    b, a = drawn(seed)
    # a rotation and a scale, which can be inverted without loss
    turn = scale * torch.linalg.qr(drawn(seed + 1, 3, 3, 3)[0]).Q
    again = (b @ turn, torch.linalg.inv(turn) @ a)
    assert basis_overlap((b, a), again, 3) == pytest.approx(1, abs=1e-9)
    other = drawn(seed + 2)
    assert basis_overlap((b, a), other, 3) == pytest.approx(basis_overlap(again, other, 3), abs=1e-9)


def test_an_update_counts_by_the_directions_it_has():
    b, a = drawn(1)
    flat = (b, a[:1].expand(3, -1).contiguous())  # of rank 1, whatever B is
    assert update_basis(*flat).shape == (9, 1)
    assert basis_overlap(flat, flat, 3) == pytest.approx(1 / 3)
    assert basis_overlap((torch.zeros(9, 3), a.float()), (b, a), 3) == 0


def test_scale_does_not_matter_nor_does_rslora(tiny_llama):
    first, second = (
        Adapter(one.configuration, {name: tensor + 0.1 for name, tensor in one.weights.items()})
        for one in (
            fresh_adapter(tiny_llama, kind.configuration(tiny_llama), 0)
            for kind in (LoRA(), LoRA(alpha=16, rslora=True))
        )
    )
    found = subspace_overlap(first, second)
    # B is 0.1 everywhere: one direction of eight
    assert set(found.by_layer) == {0, 1, 2}
    assert found.mean == pytest.approx(1 / 8)


@pytest.mark.parametrize("kind", [IA3(), FullFineTuning(), PromptTuning(), LoRA(dora=True)], ids=repr)
def test_what_is_no_low_rank_update_is_refused(tiny_llama, kind):
    other = fresh_adapter(tiny_llama, kind.configuration(tiny_llama), 0)
    plain = fresh_adapter(tiny_llama, LoRA().configuration(tiny_llama), 0)
    for pair in ((other, plain), (plain, other)):
        with pytest.raises(InputError, match="Compare plain LoRA adapters"):
            subspace_overlap(*pair)


def test_adapters_of_other_ranks_or_modules_are_refused():
    ours = adapter_of([drawn(1)], 3)
    with pytest.raises(InputError, match=r"layers\.0\.self_attn\.o_proj.*on the same modules"):
        subspace_overlap(ours, adapter_of([drawn(1), drawn(2)], 3))
    with pytest.raises(InputError, match=r"\(9, 3\), \(3, 7\) and \(9, 2\), \(2, 7\).*of one rank"):
        subspace_overlap(ours, adapter_of([drawn(1, rank=2)], 2))
    stray = Adapter(ours.configuration, {"head.lora_A.weight": drawn(1)[1], "head.lora_B.weight": drawn(1)[0]})
    with pytest.raises(InputError, match="head lies in no numbered layer"):
        subspace_overlap(stray, stray)


def test_random_subspaces_share_what_many_random_adapters_share_on_average():
    pairs = [
        subspace_overlap(*(adapter_of([drawn(seed, out=12, rank=3)], 3) for seed in (2 * trial, 2 * trial + 1)))
        for trial in range(400)
    ]
    # by hand: each of three directions of twelve lies in three others by a quarter
    assert {pair.mean_of_random for pair in pairs} == {0.25}
    assert sum(pair.mean for pair in pairs) / len(pairs) == pytest.approx(0.25, abs=0.02)


def test_an_update_of_a_lower_rank_shares_less_with_a_random_one():
    eye = torch.eye(4)
    reads = torch.tensor([[1.0, 2.0], [1.0, 2.0]])  # both rows alike, so that the update is of rank 1
    low, full = adapter_of([(eye[:, :2], reads)], 2), adapter_of([(eye[:, :2], torch.eye(2))], 2)
    assert subspace_overlap(low, full).mean_of_random == 1 * 2 / 4 / 2
