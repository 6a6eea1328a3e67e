import pytest
import torch
import transformers
from conftest import tiny_language_model, tiny_network

from ia2.errors import InputError
from ia2.models.context_length import context_length, context_notes
from ia2.models.load import load_model
from ia2.prompting.prompts import PromptTokenizer

SIZES = {
    **{"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3},
    **{"pad_token_id": 0, "eos_token_id": 0, "bos_token_id": 0},
}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, **FACTORS, "original_max_position_embeddings": 16}


def phi3():
    config = transformers.Phi3Config(
        **SIZES, max_position_embeddings=64, original_max_position_embeddings=16, rope_parameters=LONG
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (transformers.LlamaConfig(max_position_embeddings=128), 128),
        (transformers.GPT2Config(n_positions=96), 96),
        (transformers.MptConfig(max_seq_len=64), 64),
        (transformers.BloomConfig(), None),
        # yarn's frequencies don't depend on the text
        (
            transformers.LlamaConfig(
                max_position_embeddings=128,
                rope_parameters={
                    **{"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0},
                    "original_max_position_embeddings": 32,
                },
            ),
            128,
        ),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_it_is_what_the_configuration_says(config, length):
    assert context_length(config) == length
    assert context_notes(config, "tiny") == ()


def test_a_long_text_changes_another_one_under_longrope_so_it_ends_before_that():
    network = phi3()
    length = context_length(network.config)
    assert length == 16
    short = torch.arange(1, 9)
    with torch.no_grad():
        alone = network(short[None]).logits[0, -1]
        for other, same in ((length, True), (length + 1, False)):
            batch = torch.zeros(2, other, dtype=torch.long)
            batch[0, :8], batch[1] = short, torch.arange(1, other + 1)
            mask = torch.ones_like(batch)
            mask[0, 8:] = 0
            beside = network(batch, attention_mask=mask).logits[0, 7]
            assert torch.allclose(alone, beside, atol=1e-4) == same


def test_it_is_said_and_longer_texts_are_refused(tmp_path):
    phi3().save_pretrained(tmp_path)
    tokenizer = tiny_language_model().tokenizer
    tokenizer.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    assert model.context_length == 16
    assert model.beside(3).context_length == 13
    assert (
        f"Model {tmp_path.name}: texts of up to 16 tokens are read. A longer one would change the rotary frequencies "
        "(longrope) of all texts in its batch."
    ) in model.notes
    tokens = PromptTokenizer(tokenizer, context_length=model.context_length)
    tokens.check_length(16, "text")
    with pytest.raises(InputError, match="17 tokens, but the model reads 16"):
        tokens.check_length(17, "text")


def test_parameters_of_each_type_of_layer_are_looked_through():
    config = tiny_network("llama").config
    config.rope_parameters = {"full_attention": LONG, "sliding_attention": {"rope_type": "default"}}
    assert context_length(config) == 16
