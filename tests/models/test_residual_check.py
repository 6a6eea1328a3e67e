"""A network as transformers has none: Llama's, by names that no entry of the table has."""

import pytest
import torch
from conftest import byte_level_tokenizer, tiny_language_model, tiny_network
from peft import PeftModel
from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer

from ia2.adapters.adapter import adapted, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.models import load
from ia2.models.architectures import architecture_of, output_projections
from ia2.models.load import load_model
from ia2.models.residual_check import check_residual
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS
from ia2.training.teacher import collect_targets
from ia2.training.train import train

RENAMED = {"q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo"}


class Renaming(nn.Module):
    """A module seen by Llama's own code, which calls its parts as Llama does."""

    def __init__(self, module):
        super().__init__()
        self.__dict__["seen"] = module
        self.training = module.training

    def __getattr__(self, name):
        return getattr(self.__dict__["seen"], RENAMED.get(name, name))


class OtherNames(LlamaAttention):
    """Llama's attention, whose modules are called otherwise."""

    def forward(self, *arguments, **keywords):
        return LlamaAttention.forward(Renaming(self), *arguments, **keywords)


class Halved(OtherNames):
    """The same, but that what is added isn't what the output projection gives."""

    def forward(self, *arguments, **keywords):
        output, *others = super().forward(*arguments, **keywords)
        return (output / 2, *others)


class OtherLayer(LlamaDecoderLayer):
    """Llama's layer, whose blocks are called otherwise."""

    def forward(self, hidden_states, **keywords):
        mixed, _ = self.token_mixing(hidden_states=self.input_layernorm(hidden_states), **keywords)
        hidden_states = hidden_states + mixed
        return hidden_states + self.channels(self.post_attention_layernorm(hidden_states))


def renamed(attention=OtherNames):
    network = tiny_network("llama")
    for layer in network.model.layers:
        block, feed_forward = layer.self_attn, layer.mlp
        for old, new in RENAMED.items():
            block.add_module(new, getattr(block, old))
            del block._modules[old]
        block.__class__ = attention
        del layer._modules["self_attn"], layer._modules["mlp"]
        layer.add_module("token_mixing", block)
        layer.add_module("channels", feed_forward)
        layer.__class__ = OtherLayer
    return network


def test_a_network_of_the_table_is_not_inferred(network):
    assert not architecture_of(network).is_inferred
    check_residual(network, "tiny")


def test_a_network_of_other_names_is_inferred_and_adds_up():
    network = renamed()
    architecture = architecture_of(network)
    assert architecture.is_inferred
    assert architecture.path == "model.layers"
    assert output_projections(network) == [layer.token_mixing.wo for layer in network.model.layers]
    check_residual(network, "tiny")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(network(ids).logits, tiny_network("llama")(ids).logits)


@pytest.mark.parametrize("layer", [0, 2])
def test_what_is_changed_before_it_is_added_is_refused(layer):
    network = renamed()
    network.model.layers[layer].token_mixing.__class__ = Halved
    said = rf"^tiny: models of the kind llama aren't in the table .* model\.layers\.{layer}\.token_mixing, which looks"
    with pytest.raises(InputError, match=said):
        check_residual(network, "tiny")


def test_a_network_that_nothing_can_be_inferred_of_is_left_to_who_reads_its_parts():
    network = renamed()
    network.model.layers[1].token_mixing.wq = nn.Sequential(network.model.layers[1].token_mixing.wq, nn.Linear(32, 32))
    check_residual(network, "tiny")
    with pytest.raises(InputError, match="attention found in 0 of 3 layers"):
        architecture_of(network)


def test_loading_says_what_was_inferred_and_refuses_what_does_not_add_up(tmp_path, monkeypatch):
    tiny_network("llama").save_pretrained(tmp_path / "tiny")
    byte_level_tokenizer().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(load, "read_network", lambda *_arguments: renamed())
    notes = load_model(tmp_path / "tiny", device="cpu").notes
    assert notes[1:] == (
        "Model tiny: this architecture is not in the table; by their names, shapes and contribution to the residual "
        "stream, token_mixing is taken as a layer's attention and wq, wk, wv, wo as its projections.",
    )
    monkeypatch.setattr(load, "read_network", lambda *_arguments: renamed(Halved))
    with pytest.raises(InputError, match=r"isn't what the layer adds to the residual stream"):
        load_model(tmp_path / "tiny", device="cpu")


def test_an_adapter_of_an_inferred_network_is_that_of_the_same_one_in_the_table(tmp_path, toy_task):
    few, weights = FewShotSet.draw(toy_task, 4), []
    for index, network in enumerate((tiny_network("llama"), renamed())):
        model = tiny_language_model(network)
        targets = collect_targets(model, few, cache_dir=tmp_path / str(index))
        training = Training(epochs=2)
        trained = train(model, few, METHODS["ia2-sft"], learning_rate=1e-2, targets=targets, training=training)
        weights.append(trained.adapter)
    for (_, ours), (_, theirs) in zip(weights[0].weights.items(), weights[1].weights.items(), strict=True):
        torch.testing.assert_close(ours, theirs)
    weights[1].save(tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7]])
    with adapted(model, [weights[1]]) as reader, reader.adapters.attached([0]), torch.no_grad():
        ours = model.network(ids).logits
    with torch.no_grad():
        reloaded = PeftModel.from_pretrained(renamed(), str(tmp_path / "adapter")).eval()(ids).logits
    torch.testing.assert_close(ours, reloaded, rtol=1e-4, atol=1e-5)
    assert fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0).weights
