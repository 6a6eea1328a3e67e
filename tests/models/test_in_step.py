import pytest
import torch

from benchmarks.shrunken import shrunken_network
from ia2.adapters.adapter import bank_of, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.models.decoding import decode
from ia2.models.packing_check import check_agreement
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.row_forms import row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT

PROMPTS = [(5, 9, 13), (4, 8, 6, 2, 2), (7, 7, 1), (3,)]


def written(network, prompt, most_tokens, end_tokens=frozenset()):
    """A whole forward pass for each token."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + most_tokens:
        with torch.no_grad():
            token = network(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax().item()
        if token in end_tokens:
            break
        tokens.append(token)
    return tuple(tokens[len(prompt) :])


@pytest.mark.parametrize(
    ("kind", "caches"),
    [("bloom", True), ("qwen3_5_text", True), ("lfm2_moe", True), ("mamba", True), ("bamba", True), ("rwkv", False)],
)
def test_texts_and_what_is_recorded_equal_a_pass_for_each_token(kind, caches):
    network = shrunken_network(kind)
    check_agreement(network, kind)
    assert row_form_of(network).caches is caches
    reader = Reader(network)
    decoded = dict(decode(reader, PROMPTS, Limits(5), sites=[ATTENTION_OUTPUT], batch_size=2))
    for index, prompt in enumerate(PROMPTS):
        tokens = written(network, prompt, 5)
        assert decoded[index].tokens == tokens
        assert decoded[index].ending == "length"
        (read,) = reader.activations([TokenSequence(prompt, tokens)], [ATTENTION_OUTPUT])
        assert torch.allclose(decoded[index].activations[ATTENTION_OUTPUT], read[ATTENTION_OUTPUT], atol=1e-4)


def test_an_end_token_ends_one_response_and_leaves_the_others():
    network = shrunken_network("bloom")
    check_agreement(network, "bloom")
    end = written(network, PROMPTS[0], 3)[2]
    decoded = dict(decode(Reader(network), PROMPTS, Limits(6, frozenset({end})), batch_size=4))
    assert decoded[0].ending == "end"
    for index, prompt in enumerate(PROMPTS):
        assert decoded[index].tokens == written(network, prompt, 6, {end})


def test_each_prompt_is_continued_with_its_adapter():
    network = shrunken_network("qwen3_5_text")
    check_agreement(network, "tiny")
    configuration = LoRA(rank=2).configuration(network)
    adapters = [fresh_adapter(network, configuration, seed) for seed in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    for adapter in adapters:
        for tensor in adapter.weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    both = dict(decode(Reader(network, bank_of(network, adapters)), PROMPTS, Limits(5), adapters=[0, 1, 1, 0]))
    for index, number in enumerate([0, 1, 1, 0]):
        reader = Reader(network, bank_of(network, [adapters[number]]))
        (alone,) = dict(decode(reader, [PROMPTS[index]], Limits(5))).values()
        assert both[index].tokens == alone.tokens
