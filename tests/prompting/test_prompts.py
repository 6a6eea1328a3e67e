import copy
import unicodedata
from dataclasses import replace

import pytest
from conftest import sentencepiece_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from ia2.errors import FieldError, InputError
from ia2.prompting.prompts import PromptTokenizer, prompt_text
from ia2.tasks.task import Dialogue, Example, Instruction, Turn

RESPONSES = ["0", "1", " positive", " negative", "positive", "There are 42.\n#### 42", " été", "-3"]


def test_prompt_text_worked_by_hand():
    shown = [Example("Text:a\nLabel:", "1"), Example("Text:b\nLabel:", "0")]
    assert prompt_text("Text:c\nLabel:", shown) == "Text:a\nLabel:1\n\nText:b\nLabel:0\n\nText:c\nLabel:"
    assert prompt_text("Text:c\nLabel:") == "Text:c\nLabel:"


@pytest.mark.parametrize("response", RESPONSES)
def test_the_prompts_tokens_are_a_prefix_and_the_whole_reads_as_the_text(tokenizer, response):
    tokens = PromptTokenizer(tokenizer)
    shown = [Example("Text:it is great\nLabel:", response)]
    query = "Text:a fine film .\nLabel:"
    sequence = tokens.sequence(query, response, shown)
    assert sequence.prompt == tokens.prompt(prompt_text(query, shown))
    assert tokens.text(sequence.prompt + sequence.response) == prompt_text(query, shown) + response


def test_bos_stands_once_at_the_front_where_there_is_one(tokenizer):
    prompt = PromptTokenizer(tokenizer).prompt("Text:a\nLabel:")
    assert list(prompt) == tokenizer("Text:a\nLabel:")["input_ids"]
    expected = 0 if tokenizer.bos_token is None else 1
    assert prompt.count(tokenizer.bos_token_id) == expected
    assert prompt[:expected] == (tokenizer.bos_token_id,)[:expected]


def test_a_response_has_no_bos_and_no_space_of_the_tokenizers_own(tokenizer):
    tokens = PromptTokenizer(tokenizer)
    zero = tokens.response("Text:a\nLabel:", "0")
    assert len(zero) == 1
    assert tokenizer.convert_ids_to_tokens(list(zero)) == ["0"]
    # the same whatever the text in front of the last line
    assert tokens.response("Text:quite another text, 12 of them\nLabel:", "0") == zero


def normalizing(tokenizer, *steps):
    """The tokenizer with these steps before all others."""
    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.normalizer = normalizers.Sequence(list(steps))
    return changed


COMPOSED, COMPATIBLE = ["e\u0301te\u0301", "10 \u2126", "5 \u212b"], ["x²", "½ of it", "12\u00a0000", "ﬁne"]


@pytest.mark.parametrize(
    ("form", "response"),
    [("NFC", text) for text in COMPOSED] + [("NFKC", text) for text in COMPOSED + COMPATIBLE],
)
def test_a_response_is_taken_as_the_tokenizer_normalizes_it(tokenizer, form, response):
    tokens = PromptTokenizer(normalizing(tokenizer, getattr(normalizers, form)()))
    query, read = "Text:it is\nLabel:", unicodedata.normalize(form, response)
    assert read != response
    sequence = tokens.sequence(query, response)
    assert sequence.prompt == tokens.prompt(query)
    assert tokens.text(sequence.prompt + sequence.response) == query + read
    assert sequence.response == tokens.response(query, read)


def test_a_space_that_a_normalizer_adds_or_marks_is_no_part_of_a_response():
    # as those of Llama 2's first years: ▁ stands before every text, and for each space
    tokenizer = sentencepiece_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = None
    marks = (normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"))
    tokens = PromptTokenizer(normalizing(tokenizer, normalizers.NFKC(), *marks))
    for response in ("0", " 0", "x²", " x²", "  ½ of it"):
        read = unicodedata.normalize("NFKC", response)
        assert tokens.continuation(tokens.prompt("Label:"), tokens.response("Label:", response)) == read


def test_a_special_token_that_data_writes_is_those_characters(tokenizer):
    tokens = PromptTokenizer(tokenizer)
    special = set(tokenizer.all_special_ids)
    for mark in tokenizer.all_special_tokens:
        said = f"it is {mark} great"
        shown = (Example(f"Text:{said}\nLabel:", f" {mark}"), Instruction(f"Judge {mark}."))
        sequence = tokens.sequence(f"Text:{said}\nLabel:", f"42{mark}", shown)
        written = (*sequence.prompt[len(tokens.opening) :], *sequence.response)
        assert special.isdisjoint(written)
        assert tokenizer.decode(list(written), skip_special_tokens=False).strip() == (
            prompt_text(f"Text:{said}\nLabel:", shown) + f"42{mark}"
        )


def test_what_a_tokenizer_makes_of_a_response_that_it_cannot_read_is_said():
    few = ["<unk>", *"Label:\n 0123456789"]
    made = Tokenizer(models.BPE({token: number for number, token in enumerate(few)}, [], unk_token="<unk>"))
    made.decoder = decoders.Fuse()
    tokens = PromptTokenizer(PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>"))
    assert tokens.text(tokens.response("Label:", "42 el")) == "42 el"
    with pytest.raises(InputError) as refusal:
        tokens.response("Label:", "0123456789 42 € 3")
    assert str(refusal.value) == (
        "'0123456789 42 € 3': this tokenizer makes '456789 42  3' of '456789 42 € 3'. Change the text, or use another "
        "model."
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_text_keeps_its_prompts_tokens(tokenizer, text):
    tokens = PromptTokenizer(tokenizer)
    query = f"Text:{text}\nLabel:"
    sequence = tokens.sequence(query, "1")
    assert sequence.prompt == tokens.prompt(query)
    assert sequence.response == tokens.response("Text:a\nLabel:", "1")


def test_a_prompt_longer_than_the_context_is_refused_with_its_length(tokenizer):
    tokens = PromptTokenizer(tokenizer, context_length=20)
    with pytest.raises(InputError, match=r"^'Text:cold cold cold.*…': prompt and response are \d+ tokens.*reads 20"):
        tokens.sequence("Text:" + "cold " * 30 + "\nLabel:", "1")


TEMPLATE = (
    "{% for turn in messages %}<|{{ turn.role }}|>\n{{ turn.content | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.fixture
def chat_tokenizer(tokenizer):
    changed = copy.deepcopy(tokenizer)
    bos = "{{ bos_token }}" if tokenizer.bos_token else ""
    changed.chat_template = bos + TEMPLATE
    return changed


def test_chat_prompts_are_the_templates_with_one_bos_and_exact_boundaries(chat_tokenizer):
    tokens = PromptTokenizer(chat_tokenizer, chat=True)
    shown = (Instruction("Judge."), Example("a fine film", "1"), Example("a cold room", "0"))
    sequence = tokens.sequence("a warm bed", "1", shown)
    turns = [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "a fine film"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "a cold room"},
        {"role": "assistant", "content": "0"},
        {"role": "user", "content": "a warm bed"},
    ]
    expected = chat_tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert list(sequence.prompt) == expected
    if chat_tokenizer.bos_token_id is not None:
        assert sequence.prompt.count(chat_tokenizer.bos_token_id) == 1
    # the whole conversation, tokenised at once, begins with prompt and response
    whole = chat_tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "1"}])["input_ids"]
    assert whole[: len(expected) + len(sequence.response)] == [*sequence.prompt, *sequence.response]


def test_a_dialogue_is_rendered_as_its_turns_and_a_system_turn_that_all_have_once(chat_tokenizer):
    system, other = Turn("system", "Count."), Turn("system", "Spell.")
    shown = Example(Dialogue((system, Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?"))), "2.")
    before = [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "2."},
    ]
    asked = {"role": "user", "content": "Three?"}
    again = [{"role": "system", "content": "Spell."}]
    tokens = PromptTokenizer(chat_tokenizer, chat=True)
    for query, turns in {
        Dialogue((system, Turn("user", "Three?"))): [*before, asked],
        Dialogue((other, Turn("user", "Three?"))): [*before, *again, asked],
        "Three?": [*before, asked],
    }.items():
        expected = chat_tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        assert list(tokens.asked(query, (shown,))) == expected


NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
SILENT = "{% for turn in messages if turn.role != 'system' %}" + TEMPLATE.partition("%}")[2]


@pytest.mark.parametrize("template", [NO_SYSTEM + TEMPLATE, SILENT])
def test_what_a_template_without_system_turns_is_told_stands_before_the_next_user_turn(chat_tokenizer, template):
    chat_tokenizer.chat_template = template
    tokens = PromptTokenizer(chat_tokenizer, chat=True)
    context, system = Instruction("Judge."), Turn("system", "Spell.")
    dialogue = Dialogue((system, Turn("user", "One?"), Turn("assistant", "1."), Turn("user", "Two?")))
    for query, shown, turns in [
        ("a film", (context,), [("user", "Judge.\n\na film")]),
        (dialogue, (context,), [("user", "Judge.\n\nSpell.\n\nOne?"), ("assistant", "1."), ("user", "Two?")]),
        (dialogue, (Example(dialogue, "2."),), [
            *[("user", "Spell.\n\nOne?"), ("assistant", "1."), ("user", "Two?"), ("assistant", "2.")],
            *[("user", "One?"), ("assistant", "1."), ("user", "Two?")],
        ]),
    ]:  # fmt: skip
        expected = chat_tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns], add_generation_prompt=True
        )
        assert list(tokens.asked(query, shown)) == expected["input_ids"]


def test_chat_needs_a_template_that_takes_the_turns(tokenizer, chat_tokenizer):
    with pytest.raises(FieldError, match="^chat: this model has no chat template"):
        PromptTokenizer(tokenizer, chat=True)
    chat_tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(FieldError, match="^chat: .* refuses the prompt \\(no system turns\\)"):
        PromptTokenizer(chat_tokenizer, chat=True).asked("a", (Instruction("b"),))


def test_a_task_as_chat_has_responses_that_stand_alone(toy_task, toy_texts):
    spaced = replace(toy_task, labels=(" 0", " 1"), pool=(), evaluation=(Example("a", " 1"),)).as_chat()
    assert (spaced.labels, spaced.evaluation[0].response, spaced.chat) == (("0", "1"), "1", True)
    texts = replace(toy_texts, pool=(), evaluation=(Example("a", " yes\n"),)).as_chat()
    assert (texts.evaluation[0].response, texts.stop) == ("yes", None)


def test_a_free_response_ends_where_its_turn_does(tiny_model, toy_task, toy_texts):
    chatty = copy.deepcopy(tiny_model.tokenizer)
    chatty.add_special_tokens({"additional_special_tokens": ["<end>"]})
    chatty.chat_template = TEMPLATE
    model = replace(tiny_model, tokenizer=chatty)
    end = chatty.convert_tokens_to_ids("<end>")
    assert end != model.end_token
    row = toy_texts.pool[0]
    task = toy_texts.as_chat()
    sequence = PromptTokenizer.of(model, task).sequence(row.query, row.response)
    turns = [{"role": "user", "content": row.query}, {"role": "assistant", "content": row.response}]
    # up to the line break behind the turn
    assert [*sequence.prompt, *sequence.response] == chatty.apply_chat_template(turns)["input_ids"][:-1]
    assert sequence.response[-1] == end
    # elsewhere, and where a template's turns have no end of their own, it is the end of the text; labels have none
    assert PromptTokenizer.of(model, toy_texts).end_token == model.end_token
    chatty.chat_template = TEMPLATE.replace("<end>", "")
    assert PromptTokenizer.of(model, task).end_token == model.end_token
    assert PromptTokenizer.of(model, toy_task.as_chat()).end_token is None


@pytest.mark.parametrize("bound", ["", "\n"])
def test_a_special_token_that_data_writes_in_a_conversation_is_those_characters(tokenizer, bound):
    chatty = copy.deepcopy(tokenizer)
    # as Phi-3's, which take the white space behind them
    chatty.add_special_tokens({"additional_special_tokens": [AddedToken("<end>", rstrip=True, normalized=False)]})
    chatty.chat_template = TEMPLATE.replace("|>\n", f"|>{bound}")
    tokens, special = PromptTokenizer(chatty, chat=True), set(chatty.all_special_ids)
    plain = Dialogue((Turn("system", "Judge."), Turn("user", "Is it?"), Turn("assistant", "It is."), Turn("user", "Q")))
    for mark in (*chatty.all_special_tokens, "\ufdd0", "\ufdd00\ufdd1"):
        for position in range(4):
            turns = list(plain.turns)
            turns[position] = Turn(turns[position].role, f"so {mark} is {mark}")
            changed = tokens.sequence(Dialogue(turns), f"No{mark}.")
            expected = tokens.sequence(plain, "No.")
            assert [token for token in changed.prompt if token in special] == [
                token for token in expected.prompt if token in special
            ]
            decoded = chatty.decode(list(changed.prompt + changed.response), skip_special_tokens=False)
            assert decoded.count(f"so {mark} is {mark}") == 1
            assert decoded.endswith(f"No{mark}.")
            # what stands before and behind that turn is as it was
            turn_ends = [
                at for at, token in enumerate(expected.prompt) if token == chatty.convert_tokens_to_ids("<end>")
            ]
            before = turn_ends[position - 1] + 1 if position else 0
            assert changed.prompt[:before] == expected.prompt[:before]
            if position < 3:
                behind = len(expected.prompt) - turn_ends[position]
                assert changed.prompt[-behind:] == expected.prompt[-behind:]


def test_what_a_teacher_wrote_follows_its_prompt_as_characters(chat_tokenizer):
    mark = chat_tokenizer.eos_token
    tokens = PromptTokenizer(chat_tokenizer, chat=True)
    prompt = tokens.asked(f"Say {mark}")
    assert tokens.following(prompt, f"4{mark}") == tokens.response(tokens.rendered("Say"), f"4{mark}")


def test_a_token_beyond_the_embedding_is_refused_and_what_is_never_read_is_not(tiny_model, toy_task):
    larger = copy.deepcopy(tiny_model.tokenizer)
    # the tiny model has no embedding of what is added behind its vocabulary
    larger.add_tokens([f"<extra{number}>" for number in range(tiny_model.vocabulary - len(larger) + 1)])
    last = larger.convert_ids_to_tokens(tiny_model.vocabulary)
    tokens = PromptTokenizer.of(replace(tiny_model, tokenizer=larger), toy_task)
    assert tokens.sequence("Text:a film\nLabel:", "1").prompt
    count = tiny_model.vocabulary
    said = rf"reads '{last}' as token {count}, but the model has embeddings of only {count} tokens"
    with pytest.raises(InputError, match=said):
        tokens.sequence(f"Text:a {last}\nLabel:", "1")
    assert PromptTokenizer(larger).sequence(f"Text:a {last}\nLabel:", "1").prompt


def test_a_tokenizer_without_an_end_token_serves_labels_and_turns_that_end_themselves(tiny_model, toy_task, toy_texts):
    endless = copy.deepcopy(tiny_model.tokenizer)
    endless.eos_token = None
    model = replace(tiny_model, tokenizer=endless)
    assert PromptTokenizer.of(model, toy_task).ending == ()
    with pytest.raises(
        InputError, match=r"has no end-of-text token, which responses end with\. Save it with an eos_token"
    ):
        PromptTokenizer.of(model, toy_texts)
    endless.chat_template = TEMPLATE.replace("<end>", "<|endoftext|>")
    task = toy_texts.as_chat()
    assert PromptTokenizer.of(model, task).end_token == endless.convert_tokens_to_ids("<|endoftext|>")
    # what the model's own configuration ends with
    assert model.end_tokens == {model.network.generation_config.eos_token_id}
