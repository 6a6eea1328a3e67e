from conftest import tiny_network

from benchmarks.shrunken import shrunken_network
from ia2.models.packing_check import check_agreement
from ia2.models.reading_notes import reading_notes


def notes_of(network):
    check_agreement(network, "tiny")
    return reading_notes(network, "tiny")


def test_a_plain_decoder_has_none():
    assert notes_of(tiny_network("llama")) == ()


def test_a_hybrid_says_how_its_rows_are_and_what_stands_for_its_projections():
    rows, mixers = notes_of(shrunken_network("qwen3_5_text"))
    assert rows.startswith("Model tiny: each text has its own row (padded), as ")
    assert mixers == (
        "Model tiny: 3 of 4 layers mix tokens through a recurrent state; their projections are linear_attn.in_proj_qkv "
        "for query, key and value, linear_attn.out_proj for output."
    )


def test_layers_that_mix_no_tokens_are_counted():
    assert notes_of(shrunken_network("nemotron_h"))[-1] == (
        "Model tiny: 2 of 4 layers mix no tokens and are neither aligned nor adapted."
    )


def test_attention_without_a_kernel_is_said():
    assert any("attention is eager" in note for note in notes_of(shrunken_network("bloom")))
