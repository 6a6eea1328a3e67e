import pytest
import torch
import transformers
from conftest import tiny_network

from ia2.errors import InputError
from ia2.models.gqa_attention import attend_in_groups
from ia2.models.packing_check import check_agreement

SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGURATIONS = {
    "mpt": lambda: transformers.MptConfig(vocab_size=300, d_model=32, n_heads=4, n_layers=2, initializer_range=0.3),
    "bloom": lambda: transformers.BloomConfig(vocab_size=300, hidden_size=32, n_head=4, n_layer=2),
    "falcon": lambda: transformers.FalconConfig(alibi=True, **SIZES),
    "bert": lambda: transformers.BertConfig(intermediate_size=64, initializer_range=0.3, **SIZES),
    "mamba": lambda: transformers.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2),
}


def test_what_is_supported_agrees(network):
    check_agreement(network, "tiny")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_no_disagreement(dtype):
    check_agreement(tiny_network("llama").to(dtype), "tiny")


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_what_depends_on_its_neighbours_is_refused(kind):
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[kind]())
    network.eval().requires_grad_(False)
    attend_in_groups(network)
    with pytest.raises(InputError, match=rf"some/model: models of the kind {kind} .*such as Llama, Qwen or Gemma"):
        check_agreement(network, "some/model")
