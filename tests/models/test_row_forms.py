import copy

import pytest
import torch
from conftest import tiny_network

from benchmarks.shrunken import shrunken_network
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.errors import InputError
from ia2.models.decoding import decode
from ia2.models.forward import logits_behind_rows
from ia2.models.packing_check import check_agreement
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.row_forms import (
    PACKED,
    PADDED,
    PADDED_BY_POSITION,
    PADDED_FROM_THE_START,
    empty_cache,
    mixes_lengths,
    row_form_of,
    set_row_form,
)
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Site

SEQUENCES = [
    TokenSequence((5, 9, 13, 2, 8, 8, 1), (7, 3)),
    TokenSequence((5, 9), (6,)),
    TokenSequence((5, 9, 4, 4), (6, 2, 2)),
]
SHARED = (30, 31, 32, 33, 34, 35)
BEHIND = [TokenSequence((*SHARED, *sequence.prompt[1:]), sequence.response) for sequence in SEQUENCES]


def test_rows_are_packed_where_nothing_was_chosen_and_a_copy_is_given_them_alike():
    network = tiny_network("llama")
    assert row_form_of(network) is PACKED
    set_row_form(network, PADDED)
    assert row_form_of(copy.deepcopy(network)) is PADDED
    assert not mixes_lengths(network)
    set_row_form(network, PADDED, mixes_lengths=True)
    assert mixes_lengths(copy.deepcopy(network))


@pytest.mark.parametrize("kind", ["bloom", "mpt", "gpt_neo", "llama4_text", "qwen3_5_text", "lfm2_moe", "nemotron_h"])
def test_what_is_read_of_a_text_does_not_depend_on_what_stands_beside_it(kind):
    network = shrunken_network(kind)
    assert check_agreement(network, kind) is PADDED
    reader = Reader(network)
    together = reader.activations(SEQUENCES, [ATTENTION_OUTPUT, LOGITS])
    for sequence, read in zip(SEQUENCES, together, strict=True):
        (alone,) = reader.activations([sequence], [ATTENTION_OUTPUT, LOGITS])
        with torch.no_grad():
            logits = network(torch.tensor([sequence.inputs])).logits[0, len(sequence.prompt) - 1 :]
        assert torch.allclose(read[LOGITS], logits, atol=1e-4)
        assert torch.allclose(read[ATTENTION_OUTPUT], alone[ATTENTION_OUTPUT], atol=1e-5)


def test_packed_and_padded_rows_of_one_network_give_the_same():
    network = tiny_network("llama")
    sites = [ATTENTION_OUTPUT, Site("residual", "all")]
    packed = Reader(network).activations(SEQUENCES, sites)
    set_row_form(network, PADDED)
    padded = Reader(network).activations(SEQUENCES, sites)
    for one, other in zip(packed, padded, strict=True):
        assert all(torch.allclose(one[site], other[site], atol=1e-5) for site in sites)


@pytest.mark.parametrize("kind", ["bloom", "llama4_text", "qwen3_5_text", "lfm2_moe", "nemotron_h", "bamba"])
def test_padded_rows_stand_behind_a_prefix_that_is_read_once(kind, monkeypatch):
    network = shrunken_network(kind)
    assert check_agreement(network, kind).shares_prefix
    whole = Reader(network).activations(BEHIND, [ATTENTION_OUTPUT, LOGITS])
    reader = Reader(network).with_common_prefix(BEHIND)
    assert reader.prefix.tokens == SHARED
    read_tokens = []
    embeddings = network.get_input_embeddings()
    embeddings.register_forward_pre_hook(lambda _module, arguments: read_tokens.append(arguments[0].shape))
    for _ in range(2):  # a copy is what a pass changes
        for read, expected in zip(reader.activations(BEHIND, [ATTENTION_OUTPUT, LOGITS]), whole, strict=True):
            torch.testing.assert_close(read[LOGITS], expected[LOGITS], atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(read[ATTENTION_OUTPUT], expected[ATTENTION_OUTPUT], atol=1e-5, rtol=1e-3)
    assert read_tokens == [(3, 7)] * 2


@pytest.mark.parametrize("kind", ["mpt", "qwen3_5_text", "lfm2_moe", "bamba"])
def test_responses_are_written_behind_a_prefix_as_behind_whole_prompts(kind):
    network = shrunken_network(kind)
    check_agreement(network, kind)
    prompts = [sequence.prompt for sequence in BEHIND]
    whole = dict(decode(Reader(network), prompts, Limits(4), sites=[ATTENTION_OUTPUT]))
    behind = dict(decode(Reader(network).with_common_prefix(BEHIND), prompts, Limits(4), sites=[ATTENTION_OUTPUT]))
    for index in range(len(prompts)):
        assert behind[index].tokens == whole[index].tokens
        read, expected = (decoded[index].activations[ATTENTION_OUTPUT] for decoded in (behind, whole))
        torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-3)


def test_a_network_that_reads_one_token_behind_a_cache_and_not_several_begins_at_the_first():
    network = shrunken_network("jamba")
    assert check_agreement(network, "jamba") is PADDED_FROM_THE_START
    assert Reader(network).with_common_prefix(BEHIND).prefix.tokens == ()
    with pytest.raises(ValueError, match="from its first token"):
        Reader(network, prefix=prefill(network, (5, 9)))


@pytest.mark.parametrize("kind", [PrefixTuning(), PromptTuning()])
def test_virtual_tokens_are_refused_where_rows_are_padded(kind):
    network = tiny_network("llama")
    set_row_form(network, PADDED)
    with pytest.raises(InputError, match="llama: virtual tokens can't stand before"):
        kind.configuration(network)


def test_behind_a_cache_positions_are_told_where_a_network_would_count_from_zero():
    network, tokens = shrunken_network("bamba"), torch.tensor([[5, 9, 13, 7, 3, 8]])
    check_agreement(network, "tiny")
    assert row_form_of(network) is PADDED_BY_POSITION
    with torch.no_grad():
        whole = network(input_ids=tokens, use_cache=False).logits[:, -1]
        read = {}
        for form in (PADDED, PADDED_BY_POSITION):
            set_row_form(network, form)
            cache = empty_cache(network)
            network(input_ids=tokens[:, :-1], cache=cache, use_cache=True)
            read[form] = logits_behind_rows(network, tokens[:, -1], cache)
    torch.testing.assert_close(read[PADDED_BY_POSITION], whole, atol=1e-5, rtol=1e-4)
    assert (read[PADDED] - whole).norm() > 0.01 * whole.norm()


def test_a_cache_has_a_state_where_a_layer_has_one():
    network = shrunken_network("qwen3_5_text")
    set_row_form(network, PADDED)
    kinds = [type(layer).__name__ for layer in empty_cache(network).layers]
    assert len(set(kinds[:3])) == 1
    assert kinds[3] != kinds[0]
