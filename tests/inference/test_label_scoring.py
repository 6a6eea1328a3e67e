import copy
from dataclasses import replace

import pytest
import torch
from pytest import approx
from tokenizers import normalizers
from torch.testing import assert_close

from ia2.errors import FieldError, InputError
from ia2.inference.label_scoring import LabelTokens, adapter_scoring_of, label_scoring_of, score_labels
from ia2.models.decoding import decode
from ia2.models.prefix import prefill
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sequences import TokenSequence, shared_tokens
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example

WHOLE = (" positive", " warm and funny", "0")


@pytest.fixture
def whole_task(toy_task):
    rows = tuple(Example(row.query, WHOLE[index % 3]) for index, row in enumerate(toy_task.pool))
    return replace(toy_task, labels=WHOLE, pool=rows, evaluation=())


@pytest.fixture
def tokens(tiny_model):
    return PromptTokenizer(tiny_model.tokenizer)


def test_labels_are_tokenised_behind_a_query(toy_task, tokens):
    labels = LabelTokens.of(toy_task, tokens)
    assert labels.tokens == tuple((tokens.tokenizer.convert_tokens_to_ids(label),) for label in ("0", "1"))


def test_labels_of_many_tokens_are_refused_by_name_with_the_way_out(whole_task, tokens):
    with pytest.raises(
        FieldError, match=r"^label_scoring token: .* the label ' warm and funny' is \d tokens .*Use whole"
    ):
        LabelTokens.of(whole_task, tokens)
    assert LabelTokens.of(whole_task, tokens, "whole").single is False


@pytest.mark.parametrize("labels", [("Å", "\u212b"), ("café", "cafe\u0301")])
@pytest.mark.parametrize("scoring", ["token", "whole"])
def test_labels_that_the_tokenizer_makes_the_same_are_refused_by_name(tiny_model, toy_task, labels, scoring):
    normalizing = copy.deepcopy(tiny_model.tokenizer)
    normalizing.backend_tokenizer.normalizer = normalizers.NFC()
    task = replace(toy_task, labels=(*labels, "0"), pool=(Example("Text:a\nLabel:", "0"),), evaluation=())
    with pytest.raises(InputError) as refusal:
        LabelTokens.of(task, PromptTokenizer(normalizing), scoring)
    said = (
        f"the labels {labels[0]!r}, {labels[1]!r} are the same tokens to this model. Rename them so that they differ."
    )
    assert str(refusal.value) == f"toy: {said}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_scores_the_lower_token_and_the_first_label_are_taken(tiny_model, toy_task, tokens, dtype):
    network = copy.deepcopy(tiny_model.network).to(dtype)
    equal = torch.zeros(network.config.vocab_size, dtype=dtype)
    equal[[7, 90, 300, 399]] = 2.0
    network.get_output_embeddings().register_forward_hook(lambda *arguments: equal.expand_as(arguments[2]))
    prompts = [tokens.prompt(row.query) for row in toy_task.evaluation]
    for scoring in ("token", "whole"):
        (scores,) = score_labels(Reader(network), prompts, LabelTokens.of(toy_task, tokens, scoring))
        assert set(scores.label.tolist()) == {0}
        assert scores.token is None or set(scores.token.tolist()) == {7}
    for _, decoded in decode(Reader(network), prompts[:2], Limits(3)):
        assert decoded.tokens == (7, 7, 7)


def test_token_scores_are_the_softmax_over_vocabulary_and_labels(tiny_model, toy_task, tokens):
    labels = LabelTokens.of(toy_task, tokens)
    prompts = [tokens.prompt(row.query) for row in toy_task.evaluation]
    (scores,) = score_labels(Reader(tiny_model.network), prompts, labels, batch_size=5)
    ids = [token for (token,) in labels.tokens]
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            logits = tiny_model.network(torch.tensor([prompt])).logits[0, -1].double()
        assert scores.token[index] == logits.argmax()
        assert scores.confidence[index].item() == approx(logits.softmax(-1).max().item(), abs=1e-5)
        assert scores.label[index] == logits[ids].argmax()
        assert scores.label_confidence[index].item() == approx(logits[ids].softmax(-1).max().item(), abs=1e-5)


def test_whole_labels_compete_by_the_product_of_their_tokens_probabilities(tiny_model, whole_task, tokens):
    labels = LabelTokens.of(whole_task, tokens, "whole")
    prompts = [tokens.prompt(row.query) for row in whole_task.pool[:5]]
    (scores,) = score_labels(Reader(tiny_model.network), prompts, labels, batch_size=4)
    for index, prompt in enumerate(prompts):
        sums = []
        for label in labels.tokens:
            with torch.no_grad():
                logits = tiny_model.network(torch.tensor([prompt + label])).logits[0].double().log_softmax(-1)
            sums.append(sum(logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(label)))
        expected = torch.tensor(sums).softmax(-1)
        assert scores.label[index] == expected.argmax()
        assert scores.confidence[index].item() == approx(expected.max().item(), abs=1e-5)
    assert scores.token is None


@pytest.fixture
def beginning_task(toy_task):
    """A person's labels of which one begins the other."""
    labels = (" warm", " warm and funny")
    rows = tuple(Example(row.query, labels[index % 2]) for index, row in enumerate(toy_task.pool))
    return replace(toy_task, labels=labels, pool=rows, evaluation=(), as_written=True)


def test_labels_with_their_end_compete_by_the_end_tokens_probability_too(tiny_model, beginning_task):
    tokens = PromptTokenizer.of(tiny_model, beginning_task)
    end = tiny_model.tokenizer.eos_token_id
    whole, ended = LabelTokens.alone(beginning_task, tokens), LabelTokens.of(beginning_task, tokens, "ended")
    assert ended.tokens == tuple((*label, end) for label in whole.tokens)
    assert (whole.beginnings, ended.beginnings) == (((" warm", " warm and funny"),), ())
    prompts = [tokens.prompt(row.query) for row in beginning_task.pool]
    (alone,) = score_labels(Reader(tiny_model.network), prompts, whole)
    (scores,) = score_labels(Reader(tiny_model.network), prompts, ended)
    assert not alone.label.any()
    for index, prompt in enumerate(prompts[:5]):
        sums = []
        for label in whole.tokens:
            sequence = torch.tensor([[*prompt, *label, end]])
            with torch.no_grad():
                logits = tiny_model.network(sequence).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
            sums.append(logits.gather(1, sequence[0, len(prompt) :, None]).sum().item())
        assert_close(scores.probabilities[index].double(), torch.tensor(sums).double().softmax(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "choice", "fits_tokens", "scoring"),
    [
        ({}, "auto", True, "ended"),
        ({}, "whole", True, "ended"),
        ({}, "auto", False, "whole"),
        ({"labels": (" warm", " funny")}, "auto", True, "whole"),
        ({"as_written": False}, "whole", True, "whole"),
        ({"as_written": False, "labels": ("0", "1")}, "auto", True, "token"),
    ],
)
def test_an_adapter_is_asked_for_the_end_that_it_was_taught_where_one_label_begins_another(
    tiny_model, beginning_task, changes, choice, fits_tokens, scoring
):
    rows = (Example("Text:a\nLabel:", changes.get("labels", beginning_task.labels)[0]),)
    task = replace(beginning_task, pool=rows, **changes)
    tokens = PromptTokenizer.of(tiny_model, task)
    assert adapter_scoring_of(task, tokens, choice, fits_tokens=fits_tokens) == scoring


def test_labels_that_begin_each_other_compete_with_what_follows_them_in_a_prompt(tiny_model, beginning_task):
    tokens = PromptTokenizer.of(tiny_model, beginning_task)
    alone, labels = LabelTokens.alone(beginning_task, tokens), LabelTokens.of(beginning_task, tokens, "whole")
    shown = tokens.prompt(f"Text:a\nLabel:{alone.texts[0]}\n\nText:b")
    at = len(tokens.prompt("Text:a\nLabel:")) + len(alone.tokens[0])
    assert labels.tokens == tuple((*label, shown[at]) for label in alone.tokens)
    assert (labels.scoring, labels.beginnings) == ("separated", ())
    assert LabelTokens.of(beginning_task, tokens, "separated") == labels
    rows = tuple(row for row in beginning_task.pool if row.response == " warm")
    different = replace(beginning_task, labels=(" warm", " funny"), pool=rows)
    assert LabelTokens.of(different, tokens, "whole") == LabelTokens.alone(different, tokens)


@pytest.mark.parametrize("end", ["<|end|>", ""])
def test_a_turns_end_separates_labels_in_a_conversation_whose_turns_have_one(tiny_model, beginning_task, end):
    tokenizer = copy.deepcopy(tiny_model.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.chat_template = (
        "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}END{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    ).replace("END", end)
    tokens = PromptTokenizer(tokenizer, chat=True)
    alone, labels = LabelTokens.alone(beginning_task, tokens), LabelTokens.of(beginning_task, tokens, "whole")
    separator = (tokenizer.convert_tokens_to_ids(end),) if end else ()
    assert labels.tokens == tuple(label + separator for label in alone.tokens)


def test_labels_of_a_task_without_an_end_are_asked_for_none(toy_task, beginning_task):
    assert label_scoring_of(beginning_task, "ended") == "ended"
    assert label_scoring_of(toy_task, "ended") == "whole"


@pytest.mark.parametrize("scoring", ["token", "whole"])
def test_batches_layouts_and_a_shared_prefill_change_nothing(tiny_model, toy_task, tokens, scoring):
    labels = LabelTokens.of(toy_task, tokens, scoring)
    prompts = [tokens.sequence(row.query, "0", toy_task.pool[:6]).prompt for row in toy_task.evaluation]
    (expected,) = score_labels(Reader(tiny_model.network, layout="right"), prompts, labels, batch_size=1)
    shared = prefill(tiny_model.network, shared_tokens([TokenSequence(prompt, (0,)) for prompt in prompts]))
    assert len(shared.tokens) > 40
    for layout in ("packed", "right", "left"):
        for batch_size in (1, 3, 16):
            for prefix in ({}, {"prefix": shared}):
                reader = Reader(tiny_model.network, layout=layout, **prefix)
                (scores,) = score_labels(reader, prompts, labels, batch_size=batch_size)
                assert torch.allclose(scores.confidence, expected.confidence, atol=1e-5)
                assert torch.allclose(scores.label_confidence, expected.label_confidence, atol=1e-5)
                assert torch.equal(scores.label, expected.label)
                if scoring == "token":
                    assert torch.equal(scores.token, expected.token)


@pytest.mark.parametrize("scoring", ["token", "whole"])
def test_every_prompt_is_counted_once(tiny_model, toy_task, tokens, scoring):
    told = []
    labels = LabelTokens.of(toy_task, tokens, scoring)
    prompts = [tokens.prompt(row.query) for row in toy_task.evaluation]
    score_labels(Reader(tiny_model.network), prompts, labels, batch_size=5, advance=told.append)
    assert sum(told) == len(prompts)


def test_confidence_may_be_a_share_of_the_ten_likeliest_tokens(tiny_model, toy_task, tokens):
    labels = LabelTokens.of(toy_task, tokens)
    prompts = [tokens.prompt(row.query) for row in toy_task.evaluation]
    (plain,) = score_labels(Reader(tiny_model.network), prompts, labels)
    (shares,) = score_labels(Reader(tiny_model.network), prompts, labels, confidence="top-10")
    assert torch.equal(shares.token, plain.token)
    assert torch.equal(shares.label_confidence, plain.label_confidence)
    for prompt, share, token in zip(prompts, shares.confidence, shares.token, strict=True):
        with torch.no_grad():
            probability = tiny_model.network(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        expected = probability[token] / probability.sort(descending=True).values[:10].sum()
        assert_close(share.double(), expected, atol=1e-6, rtol=0)
