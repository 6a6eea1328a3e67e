import warnings

import pytest

from benchmarks.architecture_trial import byte_tokenizer, trial
from benchmarks.architectures import PAGE, row_of

# split and fused projections, ALiBi, chunks, states of four kinds, experts, latent attention, wrappers
CHOSEN = (
    *("gptj", "bloom", "mpt", "llama4_text", "qwen3_5_text", "lfm2_moe", "granitemoehybrid", "nemotron_h", "rwkv"),
    *("gpt_oss", "deepseek_v3", "gemma4", "mistral3"),
)


@pytest.mark.parametrize("kind", CHOSEN)
def test_a_kind_works_from_end_to_end_as_the_page_says(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' and PEFT's own, of kinds that are new to them
        outcome = trial(kind)
    assert outcome.works, outcome
    assert f"{row_of(outcome)}\n" in PAGE.read_text(encoding="utf-8")


def test_what_is_refused_and_what_cannot_be_built_say_why():
    assert "which PEFT adapts through target_parameters alone" in trial("jetmoe").refusal
    assert trial("no-such-kind").unbuilt == "'no-such-kind'"


def test_every_byte_is_a_token():
    tokenizer = byte_tokenizer()
    assert len(tokenizer) == 257
    assert tokenizer.decode(tokenizer("film: ü")["input_ids"]) == "film: ü"
