import re
from dataclasses import replace

import pytest
from conftest import TOKENIZERS

from ia2.errors import FieldError
from ia2.inference.decoding import checked_prompts, continued, end_tokens, stop_token, stops_at
from ia2.models.reader import Reader
from ia2.prompting.prompts import PromptTokenizer


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_stop_is_found_wherever_it_begins(kind):
    tokenizer = PromptTokenizer(TOKENIZERS[kind]())
    stops = stops_at(tokenizer, "\n\n")
    text = "There are 42 apples.\n#### 42\n\nText:it"
    tokens = tokenizer.response("a\n", text)
    first = next(count for count in range(1, len(tokens) + 1) if "\n\n" in tokenizer.text(tokens[:count]))
    assert [stops(tokens[:count]) for count in range(1, first + 1)] == [False] * (first - 1) + [True]
    assert not stops_at(tokenizer, None)(tokens)


def test_a_stop_that_could_never_come_is_refused(tiny_model):
    assert stop_token(tiny_model.tokenizer, "<|endoftext|>") == tiny_model.end_token
    assert stop_token(tiny_model.tokenizer, "\n\n") is stop_token(tiny_model.tokenizer, None) is None
    refused = "stop: 'a<|endoftext|>' could never come, as a text never holds '<|endoftext|>', a special token"
    with pytest.raises(FieldError, match=f"^{re.escape(refused)}"):
        stop_token(tiny_model.tokenizer, "a<|endoftext|>")


def test_an_end_token_of_the_model_the_task_or_a_named_stop_ends_a_response(tiny_model, toy_texts):
    tokenizer = PromptTokenizer.of(tiny_model, toy_texts)
    assert end_tokens(tiny_model, tokenizer, None) == {tiny_model.end_token}
    assert end_tokens(tiny_model, tokenizer, "<|endoftext|>") == {tiny_model.end_token}
    # a blank line is a text and no token
    assert end_tokens(tiny_model, tokenizer, "\n\n") == {tiny_model.end_token}


def test_prompts_are_continued_for_as_long_as_the_task_allows(tiny_model, toy_texts):
    task, rows = replace(toy_texts, max_new_tokens=3, stop=None), toy_texts.evaluation[:4]
    prompts = checked_prompts(PromptTokenizer.of(tiny_model, task), rows, [()] * 4, task)
    decoded = dict(continued(Reader(tiny_model.network), tiny_model, prompts, task, batch_size=2))
    assert sorted(decoded) == [0, 1, 2, 3]
    assert {len(response.tokens) for response in decoded.values() if response.ending == "length"} == {3}
