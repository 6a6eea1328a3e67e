import pytest
import torch
import transformers
from conftest import tiny_network

from benchmarks.shrunken import shrunken_network
from ia2.errors import InputError
from ia2.models import masks
from ia2.models.gqa_attention import attend_in_groups
from ia2.models.layout import lay_out
from ia2.models.packing_check import check_agreement, chooses_keys
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.row_forms import (
    PACKED,
    PADDED,
    PADDED_FROM_THE_START,
    PADDED_WITHOUT_CACHE,
    mixes_lengths,
    row_form_of,
)
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS

SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
# ALiBi, a state, and neither positions nor a cache
OTHER_ROWS = {
    "mpt": (
        lambda: transformers.MptConfig(vocab_size=300, d_model=32, n_heads=4, n_layers=2, initializer_range=0.3),
        PADDED,
    ),
    "bloom": (lambda: transformers.BloomConfig(vocab_size=300, hidden_size=32, n_head=4, n_layer=2), PADDED),
    "falcon": (lambda: transformers.FalconConfig(alibi=True, **SIZES), PADDED),
    "mamba": (
        lambda: transformers.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2),
        PADDED_FROM_THE_START,
    ),
    "rwkv": (
        lambda: transformers.RwkvConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2),
        PADDED_WITHOUT_CACHE,
    ),
}


def test_what_is_supported_agrees(network):
    assert check_agreement(network, "tiny") is PACKED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_no_disagreement(dtype):
    check_agreement(tiny_network("llama").to(dtype), "tiny")


@pytest.mark.parametrize("kind", OTHER_ROWS)
def test_what_depends_on_its_neighbours_has_rows_of_its_own(kind):
    configuration, form = OTHER_ROWS[kind]
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(configuration())
    network.eval().requires_grad_(False)
    attend_in_groups(network)
    assert check_agreement(network, "some/model") is form
    assert row_form_of(network) is form


def test_what_is_told_no_positions_has_rows_of_its_own_however_near_it_comes():
    # RoFormer's distances are those of a row, which few tokens hardly show
    assert check_agreement(shrunken_network("roformer"), "tiny") is not PACKED


def test_a_network_that_chooses_its_keys_never_shares_a_row():
    network = shrunken_network("doge")
    assert chooses_keys(network)
    assert check_agreement(network, "doge") is PADDED
    assert not chooses_keys(tiny_network("llama"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_with_windows_of_its_own_never_shares_a_row_however_wide_they_are(dtype):
    # GPT-Neo's count columns, of which what is tried has fewer than a window of 256
    network = shrunken_network("gpt_neo", {"window_size": 256}).to(dtype)
    assert check_agreement(network, "tiny") is PADDED


def test_what_comes_within_a_hundredth_does_not_agree_yet():
    # Mamba reads several tokens as if no state were before them
    assert check_agreement(shrunken_network("mamba"), "mamba") is PADDED_FROM_THE_START


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "mixes"), [("granitemoehybrid", True), ("llama4_text", True), ("bart", False), ("llama", False)]
)
def test_rows_of_different_lengths_go_on_together_where_empty_columns_are_left_out(kind, mixes, dtype):
    network = shrunken_network(kind).to(dtype)
    check_agreement(network, kind)
    # BART's positions count the columns; packed rows have a way of their own
    assert mixes_lengths(network) is mixes


def test_a_network_that_sees_empty_columns_keeps_rows_of_one_length_together(monkeypatch):
    network = shrunken_network("bloom")
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda attention_mask=None, **told: forward(**told))
    assert check_agreement(network, "bloom") is PADDED
    assert not mixes_lengths(network)


def test_an_encoder_is_refused():
    torch.manual_seed(0)
    configuration = transformers.BertConfig(intermediate_size=64, initializer_range=0.3, **SIZES)
    network = transformers.AutoModelForCausalLM.from_config(configuration).eval()
    with pytest.raises(InputError, match=r"^some/model: models of the kind bert look ahead: later tokens change"):
        check_agreement(network, "some/model")


@pytest.mark.parametrize("kind", ["cpmant", "xlnet", "paligemma"])
def test_what_looks_ahead_is_refused_for_that(kind):
    with pytest.raises(InputError, match=rf"^tiny: models of the kind {kind} look ahead: .* as in encoders and prefix"):
        check_agreement(shrunken_network(kind), "tiny")


def test_a_causal_network_that_other_rows_change_is_refused_for_that():
    network = tiny_network("llama")

    def changed_by_its_neighbours(_module, _arguments, output):
        # as an auxiliary norm over a whole batch would, which no later token reaches
        return output * (1 + 0.1 * (output.shape[0] * output.shape[1] - 15))

    network.model.layers[0].mlp.register_forward_hook(changed_by_its_neighbours)
    with pytest.raises(
        InputError, match=r"compute a text differently if another text, or padding, is in the same batch"
    ):
        check_agreement(network, "tiny")


def test_what_runs_in_no_form_is_refused_with_its_reason():
    network = shrunken_network("gemma4_unified_assistant")
    with pytest.raises(InputError, match=r"can't be run here \(inputs_embeds and shared_kv_states"):
        check_agreement(network, "some/model")


WINDOW = 40
"""A sliding window that the loading check's texts, of 15 tokens, don't reach beyond."""
WINDOWED = {
    "mistral": {},
    "mixtral": {},
    "gemma2": {},
    "gemma3_text": {},
    "phi3": {},
    "gpt_oss": {},
    "qwen2": {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "olmo3": {},
}


def long_texts():
    """Three texts behind thirty tokens in common: two reach beyond the window, one ends within it."""
    generator = torch.Generator().manual_seed(0)
    common, *texts = (tuple(torch.randint(2, 200, (count,), generator=generator).tolist()) for count in (30, 70, 25, 6))
    return common, [TokenSequence(common + text, (0,)) for text in texts]


def read_in_every_way(network):
    """The logits behind each long text: of the three in one batch, and of the three behind a prefix read beforehand."""
    common, sequences = long_texts()
    form = row_form_of(network)
    batch = lay_out(sequences, rows=[[0, 1, 2]] if form.packs else None, layout=form.layout("packed"))
    ways = [Reader(network).read(batch, {LOGITS: batch.at()})[LOGITS]]
    if form.shares_prefix:
        reader = Reader(network, prefix=prefill(network, common))
        batch, _ = reader.laid_out(sequences, [0, 0, 0])
        ways.append(reader.read(batch, {LOGITS: batch.at()})[LOGITS])
    return ways


@torch.no_grad()
def assert_long_texts_are_read_as_alone(network):
    _, sequences = long_texts()
    alone = torch.stack([network(torch.tensor([text.prompt]), use_cache=False).logits[0, -1] for text in sequences])
    for read in read_in_every_way(network):
        torch.testing.assert_close(read, alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", WINDOWED)
def test_beyond_a_long_window_packed_texts_are_read_as_each_alone(kind):
    network = shrunken_network(kind, {"sliding_window": WINDOW, **WINDOWED[kind]})
    attend_in_groups(network)
    assert check_agreement(network, kind) is PACKED
    # the window is as it was, and is one
    assert network.config.sliding_window == WINDOW
    first, other = (TokenSequence((token, *range(5, 5 + 4 * WINDOW)), (0,)) for token in (3, 4))
    is_seen = not torch.equal(*(Reader(network).logits([text]) for text in (first, other)))
    assert is_seen == ("full_attention" in (getattr(network.config, "layer_types", None) or ()))
    assert_long_texts_are_read_as_alone(network)


def test_a_network_with_a_window_of_its_own_never_shares_a_row():
    # GPT-Neo counts its window in columns of a row, whatever mask it is given
    network = shrunken_network("gpt_neo", {"window_size": WINDOW})
    assert check_agreement(network, "gpt_neo") is PADDED
    assert_long_texts_are_read_as_alone(network)


def test_a_window_that_is_named_and_not_used_is_found_out_however_long_it_is(monkeypatch):
    network = shrunken_network("moshi", {"sliding_window": WINDOW})
    monkeypatch.setattr(masks, "WINDOW_IGNORED", set())
    assert check_agreement(network, "moshi") is not PACKED
    assert network.config.sliding_window == WINDOW
    assert_long_texts_are_read_as_alone(network)


def test_a_window_that_a_prefix_changes_is_read_from_the_start():
    # Unlimited-OCR sees all of the prefix that a cache was begun with
    network = shrunken_network("unlimited_ocr", {"text_config": {"sliding_window": WINDOW}})
    assert network.config.get_text_config(decoder=True).sliding_window == WINDOW
    assert check_agreement(network, "unlimited_ocr") is PADDED_FROM_THE_START
    assert_long_texts_are_read_as_alone(network)


def test_a_window_is_as_it_was_where_the_trial_is_stopped():
    network = tiny_network("mistral")

    def stop(_module, _arguments):
        if network.config.sliding_window != 16:
            raise KeyboardInterrupt

    network.model.layers[0].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        check_agreement(network, "tiny")
    assert network.config.sliding_window == 16
