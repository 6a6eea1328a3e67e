from random import Random

import pytest
import torch

from benchmarks.shrunken import shrunken_network
from ia2.adapters.adapter import bank_of, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.models.decoding import decode
from ia2.models.packing_check import check_agreement
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.row_forms import mixes_lengths, row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT

PROMPTS = [(5, 9, 13), (4, 8, 6, 2, 2), (7, 7, 1), (3,)]


def written(network, prompt, max_tokens, end_tokens=frozenset()):
    """A whole forward pass for each token."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + max_tokens:
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


def of_lengths(*lengths):
    numbers = Random(1)
    return [tuple(numbers.choices(range(1, 300), k=length)) for length in lengths]


# two of one length; some cross the border of a window or a chunk of 16
MANY = of_lengths(17, 3, 8, 17, 2, 24)
MIXED = ["bloom", "mpt", "gpt_neo", "llama4_text", "qwen3_5_text", "lfm2_moe", "granitemoehybrid", "nemotron_h"]
MIXED += ["mamba", "bamba", "lfm3", "zaya"]
OF_ONE_LENGTH = ["bart", "deepseek_v4", "recurrent_gemma"]


def ends_somewhere(tokens):
    return (sum(tokens) + len(tokens)) % 5 == 0


LIMITS = Limits(10, stops=ends_somewhere)


@pytest.mark.parametrize("kind", [*MIXED, *OF_ONE_LENGTH, "rwkv"])
def test_prompts_of_all_lengths_are_continued_as_one_at_a_time(kind):
    network = shrunken_network(kind)
    check_agreement(network, kind)
    assert mixes_lengths(network) is (kind in MIXED)
    reader = Reader(network)
    together = dict(decode(reader, MANY, LIMITS, sites=[ATTENTION_OUTPUT], batch_size=4))
    assert sorted(together) == [*range(len(MANY))]
    assert len({len(decoded.tokens) for decoded in together.values()}) > 1
    for index, prompt in enumerate(MANY):
        ((_, alone),) = decode(reader, [prompt], LIMITS, sites=[ATTENTION_OUTPUT])
        assert (together[index].tokens, together[index].ending) == (alone.tokens, alone.ending)
        read, theirs = (decoded.activations[ATTENTION_OUTPUT] for decoded in (together[index], alone))
        assert (read - theirs).norm() < 1e-5 * theirs.norm()


def passes_of(network, limits, batch_size):
    """Rows and tokens of each pass, and what was decoded."""
    shapes = []
    handle = network.get_input_embeddings().register_forward_pre_hook(lambda _m, given: shapes.append(given[0].shape))
    decoded = dict(decode(Reader(network), MANY, limits, batch_size=batch_size))
    handle.remove()
    return shapes, decoded


@pytest.mark.parametrize("kind", ["qwen3_5_text", "llama4_text", "bart", "deepseek_v4"])
def test_a_row_whose_response_has_ended_is_computed_no_further(kind):
    network = shrunken_network(kind)
    check_agreement(network, kind)
    shapes, decoded = passes_of(network, LIMITS, batch_size=3)
    assert len({len(row.tokens) for row in decoded.values()}) > 1
    # each prompt once, and each token but the last, which is no longer read
    needed = [len(prompt) + len(decoded[index].tokens) - 1 for index, prompt in enumerate(MANY)]
    assert sum(rows * width for rows, width in shapes) == sum(needed)


@pytest.mark.parametrize(
    ("kind", "passes"),
    [
        # a pass for the prompts of each of five lengths; then all go on together, as a cache's columns may be empty
        ("qwen3_5_text", 5 + 9),
        # where they may not, a prompt joins rows that have grown to its length: from 2 tokens to 17, from 17 to 33
        ("bart", 5 + 15 + 16),
        # where it isn't known what a layer keeps, those of each length go on by themselves
        ("deepseek_v4", 5 * (1 + 9)),
        # without a cache all texts are read again
        ("rwkv", 10),
    ],
)
def test_prompts_of_different_lengths_share_their_passes(kind, passes):
    network = shrunken_network(kind)
    check_agreement(network, kind)
    shapes, _ = passes_of(network, Limits(10), batch_size=len(MANY))
    assert len(shapes) == passes
