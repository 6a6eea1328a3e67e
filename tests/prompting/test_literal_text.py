import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ia2.errors import InputError
from ia2.prompting.literal_text import TextEncoder


@pytest.mark.parametrize("text", ["It is great.", " 12 <", "It<|endoftext|></s><|end|>", "\ufdd0\ufdd1 \ufdd00\ufdd1"])
def test_hidden_text_is_shown_as_it_was_and_reads_as_it_would_alone(tokenizer, text):
    encoder = TextEncoder(tokenizer)
    hidden = encoder.hidden(text)
    assert encoder.shown(hidden) == text
    assert not any(mark in hidden for mark in tokenizer.all_special_tokens)
    assert encoder.of_template(hidden) == encoder.of_text(text)


def test_a_template_without_hidden_text_has_the_tokenizers_own_tokens(tokenizer):
    rendered = f"{tokenizer.eos_token}it is{tokenizer.eos_token} great"
    assert TextEncoder(tokenizer).of_template(rendered) == tokenizer(rendered, add_special_tokens=False)["input_ids"]


def test_a_special_token_that_a_tokenizer_finds_in_any_text_is_refused():
    pieces = [("<unk>", 0.0), ("<s>", 0.0), *((character, -5.0) for character in "▁Text:Labl<s>\n01")]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    unigram = TextEncoder(PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>"))
    with pytest.raises(InputError, match=r"^'<s>': .*special token that is written like that.*Take it out"):
        unigram.of_text("Text:<s>\nLabel:")
    with pytest.raises(InputError, match=r"^'<s>': .*special token that is written like that.*Take it out"):
        unigram.of_template(unigram.hidden("Text:<s>\nLabel:"))
