import copy
from dataclasses import replace

import pytest
import torch
from conftest import TOKENIZERS
from pytest import approx

from ia2.errors import InputError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.texts import Response, TextEvaluation
from ia2.inference.decoding import continued
from ia2.models.reader import Reader
from ia2.prompting.prompts import PromptTokenizer, prompt_text


def generated_slowly(model, prompt, max_tokens, stop):
    ids = model.tokenizer(prompt)["input_ids"]
    tokens = list(ids)
    while len(tokens) < len(ids) + max_tokens:
        with torch.no_grad():
            token = model.network(torch.tensor([tokens])).logits[0, -1].argmax().item()
        if token == model.end_token:
            break
        tokens.append(token)
        if stop in model.tokenizer.decode(tokens[len(ids) :]):
            break
    return model.tokenizer.decode(tokens[len(ids) :]).partition(stop)[0]


@pytest.mark.parametrize("stop", ["\n\n", "e"])
def test_texts_are_those_of_a_forward_pass_for_each_token(tiny_model, toy_texts, stop):
    task, rows, shown = replace(toy_texts, stop=stop), toy_texts.evaluation, toy_texts.pool[:2]
    expected = [generated_slowly(tiny_model, prompt_text(row.query, shown), 10, stop) for row in rows]
    for size, shared in ((1, False), (4, True), (16, True), (16, False)):
        found = evaluate(
            tiny_model,
            rows,
            task,
            demonstrations=shown,
            settings=EvaluationSettings(batch_size=size, share_prefill=shared),
        )
        assert [row.generated for row in found.responses] == expected
        assert [row.query for row in found.responses] == [row.query for row in rows]


def test_metrics_of_four_responses_worked_by_hand():
    texts = [("#### 5", "end"), ("#### 5.0\n", "stop"), ("so 1/2 of it", "stop"), ("who knows", "length")]
    rights = ["x\n#### 5", "x\n\ny #### 6", "#### 0.5", "#### 7"]
    evaluation = TextEvaluation(
        tuple(
            Response.judged(f"q{at}", right, text, ending, "number")
            for at, ((text, ending), right) in enumerate(zip(texts, rights, strict=True))
        ),
        "number",
    )
    assert [row.correct for row in evaluation.responses] == [True, False, False, False]
    assert [row.equivalent for row in evaluation.responses] == [True, False, True, False]
    metrics = evaluation.metrics()
    assert metrics["accuracy"] == approx(0.25)
    assert metrics["equivalent_accuracy"] == approx(0.5)
    assert (metrics["ece"], metrics["ece_binning"]) == (None, None)
    for name in ("macro_f1", "balanced_accuracy", "nll", "brier", "classes", "confusion"):
        assert metrics[name] is None
    assert (metrics["without_answer"], metrics["cut_by_length"], metrics["rows_with_blank_line"]) == (1, 1, 1)
    rows = evaluation.rows()
    assert rows[2]["answer"] == "1/2"
    assert rows[2]["right_answer"] == "0.5"
    assert TextEvaluation.rescored(rows, "number") == evaluation


def test_texts_have_no_equivalence():
    row = Response.judged("q", "#### carbon dioxide", "It is\n#### carbon dioxide", "end", "marked")
    assert (row.correct, row.equivalent) == (True, None)
    assert "equivalent_accuracy" not in TextEvaluation((row,), "marked").metrics()


def with_mark(model, rows, task, name):
    """The model with a special token of this name, one that it generates somewhere, and where it does."""
    prompts = [PromptTokenizer.of(model, task).asked(row.query) for row in rows]
    free = [
        decoded.tokens for _, decoded in sorted(continued(Reader(model.network), model, prompts, task, batch_size=4))
    ]
    tokenizer = copy.deepcopy(model.tokenizer)
    mark = next(token for tokens in free for token in tokens if token >= len(tokenizer))
    others = [f"<unused {token}>" for token in range(len(tokenizer), mark)]
    tokenizer.add_special_tokens({"additional_special_tokens": [*others, name]})
    assert tokenizer.convert_tokens_to_ids(name) == mark
    before = [tokens[: tokens.index(mark)] if mark in tokens else tokens for tokens in free]
    texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in before]
    return replace(model, tokenizer=tokenizer), texts, [mark in tokens for tokens in free]


def test_what_ends_a_turn_of_a_conversation_ends_a_response(tiny_model, toy_texts):
    chatty = copy.deepcopy(tiny_model.tokenizer)
    chatty.chat_template = (
        "{% for turn in messages %}{{ turn.content }}{% if turn.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    )
    rows, task = toy_texts.evaluation, toy_texts.as_chat()
    model, texts, marked = with_mark(replace(tiny_model, tokenizer=chatty), rows, task, "<end>")
    found = evaluate(model, rows, task).responses
    assert [row.generated for row in found] == texts
    assert [row.ending == "end" for row in found] == marked


def test_a_special_token_is_a_stop_though_no_text_holds_it(tiny_model, toy_texts):
    rows, task = toy_texts.evaluation, replace(toy_texts, stop=None)
    model, texts, marked = with_mark(tiny_model, rows, task, "<|im_end|>")
    found = evaluate(model, rows, replace(task, stop="<|im_end|>")).responses
    assert [row.generated for row in found] == texts
    assert [row.ending == "end" for row in found] == marked


def test_a_continuation_keeps_the_space_that_a_tokenizer_drops_where_a_text_begins():
    for make in TOKENIZERS.values():
        tokenizer = PromptTokenizer(make())
        prompt = "Question:How many?\nAnswer:"
        assert (
            tokenizer.continuation(tokenizer.prompt(prompt), tokenizer.response(prompt, " 42 apples")) == " 42 apples"
        )


def test_a_prompt_that_leaves_no_room_is_refused(tiny_model, toy_texts):
    with pytest.raises(InputError, match="but the model reads 512"):
        evaluate(tiny_model, toy_texts.evaluation, replace(toy_texts, max_new_tokens=500))
