from dataclasses import replace

import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from peft import PeftModel, VeraConfig
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, attached, bank_of, fresh_adapter
from ia2.adapters.injection import injected, peft_state
from ia2.adapters.registry import effect_of
from ia2.adapters.vera import PROJECTIONS, SharedProjections, VeRA
from ia2.errors import InputError
from ia2.models.layout import lay_out
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS

SEQUENCES = [TokenSequence((5, 9, 13, 2), (7, 3)), TokenSequence((4, 8), (6,)), TokenSequence((4, 8, 1), (6,))]


def changed(network, seed=0):
    """An adapter whose trained tensors are changed by chance; its projections stay as they are."""
    fresh = fresh_adapter(network, VeRA(rank=6).configuration(network), 0)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: tensor if name in PROJECTIONS else tensor + torch.randn(tensor.shape, generator=generator) * 0.5
        for name, tensor in fresh.weights.items()
    }
    return Adapter(fresh.configuration, weights)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_begins_as_pefts_and_says_what_peft_says_with_what_was_saved(architecture, tmp_path):
    network = tiny_network(architecture)
    configuration = VeRA(rank=6).configuration(network)
    with injected(network, configuration) as model:
        theirs = {name: tensor.clone() for name, tensor in peft_state(model).items()}
    fresh = fresh_adapter(network, configuration, 0).weights
    assert fresh.keys() == theirs.keys()
    assert all(torch.equal(fresh[name], theirs[name]) for name in theirs)
    adapter = changed(network)
    adapter.save(tmp_path / "adapter")
    batch = lay_out(SEQUENCES, layout="right")
    before = Reader(network).read(batch, {LOGITS: batch.at()})[LOGITS]
    bank = bank_of(network, [Adapter.load(tmp_path / "adapter"), changed(network, 1)])
    ours = Reader(network, bank).read(batch, {LOGITS: batch.at()}, [0, 0, 1])[LOGITS]
    assert not torch.allclose(ours, before, atol=1e-2)
    model = PeftModel.from_pretrained(tiny_network(architecture), str(tmp_path / "adapter")).eval()
    theirs = Reader(model.get_base_model()).read(batch, {LOGITS: batch.at()})[LOGITS]
    assert_close(ours[:3], theirs[:3], atol=1e-4, rtol=1e-4)
    # the second adapter's row is its own
    assert not torch.allclose(ours[3], theirs[3], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_file_in_half_precision_is_run_as_by_peft(tmp_path, dtype):
    network = tiny_network("llama")
    adapter = changed(network)
    half = Adapter(adapter.configuration, {name: tensor.to(dtype) for name, tensor in adapter.weights.items()})
    half.save(tmp_path / "adapter")
    batch = lay_out(SEQUENCES, layout="right")
    ours = Reader(network, bank_of(network, [Adapter.load(tmp_path / "adapter")])).read(batch, {LOGITS: batch.at()})
    model = PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / "adapter")).eval()
    theirs = Reader(model.get_base_model()).read(batch, {LOGITS: batch.at()})
    assert_close(ours[LOGITS], theirs[LOGITS], atol=1e-4, rtol=1e-4)


def test_the_projections_are_not_trained_and_must_be_the_same_to_share_a_bank(tiny_llama):
    one, other = changed(tiny_llama), changed(tiny_llama, 1)
    bank = bank_of(tiny_llama, [one, other])
    # b for each output, d for each rank: 32, 16 and 32 outputs of Q, K and O in three layers
    assert bank.values.shape == (2, 3 * (32 + 16 + 32 + 3 * 6))
    assert not set(bank.weights(0)) & set(PROJECTIONS)
    moved = {**other.weights, PROJECTIONS[0]: other.weights[PROJECTIONS[0]] + 1}
    assert bank_of(tiny_llama, [one, Adapter(other.configuration, moved)]) is None


def test_a_file_without_projections_has_no_effect_here():
    with pytest.warns(UserWarning, match="vera_A"):
        configuration = VeraConfig(r=4, target_modules=["q_proj"], save_projection=False)
    assert effect_of(configuration) is None
    assert effect_of(VeraConfig(r=4, target_modules=["q_proj"])) == SharedProjections()


def test_a_file_that_says_it_holds_projections_and_does_not_is_refused(tiny_llama):
    adapter = changed(tiny_llama)
    weights = {name: tensor for name, tensor in adapter.weights.items() if name not in PROJECTIONS}
    with (
        pytest.raises(InputError, match="doesn't fit this model"),
        attached(tiny_llama, replace(adapter, weights=weights)),
    ):
        pass
