import re

import pytest
from conftest import byte_level_tokenizer

from ia2.errors import FieldError
from ia2.prompting.chat_templates import answer_opening, conversation, takes_system, turn_end

TURNS = [{"role": "user", "content": "a fine film"}]


def with_template(template):
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # as Llama 3's
        (
            "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
            "{%- set date_string = strftime_now('%d %b %Y') %}"
            "{%- else %}{%- set date_string = 'never' %}{%- endif %}{%- endif %}"
            "Today Date: {{ date_string }}",
            "Today Date: 26 Jul 2024",
        ),
        # as gpt-oss's
        (
            "{%- macro system() -%}{{- 'Current date: ' + strftime_now('%Y-%m-%d') }}{%- endmacro -%}{{- system() }}",
            "Current date: 2024-07-26",
        ),
        # as Mistral's, which count with it
        ("{{ strftime_now('%d')|int - 1 }} {{ strftime_now('%Y-%m-%d')[:4] }}", "25 2024"),
        ("{{ strftime_now('%A, %B %d, %H:%M') }}", "Friday, July 26, 00:00"),
    ],
)
def test_it_is_the_same_day_to_every_template(template, expected):
    assert conversation(with_template(template), TURNS) == expected


@pytest.mark.parametrize("start", ["", "\n", "\n\n  ", "  ", "x\n", "{# note #}\n"])
@pytest.mark.parametrize("first", ["{% if true %}\n", "{%- if true %}\n", "{{ 1 }}{% if true %}"])
def test_a_template_renders_as_transformers_renders_it(start, first):
    template = start + first + "{{ messages[0].content }}\n{% endif %}\n{% if add_generation_prompt %}A:{% endif %}"
    tokenizer = with_template(template)
    for asks in (True, False):
        expected = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=asks)
        assert conversation(tokenizer, TURNS, asks=asks) == expected
        assert bool(re.search("A:$", expected)) == asks


CLOSED = "{% for turn in messages %}<turn>{{ turn.role }}\n{{ turn.content | trim }}CLOSING\n{% endfor %}"


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        ("<end_of_turn>", "<end_of_turn>"),  # as Gemma's
        ("<|end|>\n{% if loop.last %}{{ eos_token }}{% endif %}", "<|end|>"),  # as Phi-3's
        (" {{ eos_token }}", "<|endoftext|>"),  # as Llama 2's
        ("<|end|>x<end_of_turn>", "<|end|>"),
        ("<|endoftext|>", "<|endoftext|>"),
        ("{% if turn.role == 'user' %}<|end|>{% endif %}", None),
        ("</think>", None),  # an added token, but a text like others
    ],
)
def test_what_ends_a_turn_is_the_special_token_behind_what_the_assistant_said(closing, expected):
    tokenizer = with_template(CLOSED.replace("CLOSING", closing))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>", "<end_of_turn>", "<|end|>", "<|end"]})
    tokenizer.add_tokens(["</think>"])
    found = turn_end(tokenizer)
    assert (found if found is None else tokenizer.decode([found])) == expected


def test_a_template_without_what_the_assistant_said_ends_no_turn():
    assert turn_end(with_template("{{ messages[0].content }}{{ eos_token }}")) is None


TURN, END = "{% for turn in messages %}<{{ turn.role }}>", "{{ turn.content }}{% endfor %}"
ASKING = "{% if add_generation_prompt %}<assistant>"
BEFORE = "{% if turn.role == 'assistant' %}OPENING{% endif %}"
THOUGHT = "<think>\n\n</think>\n\n"
TEMPLATES = {
    "plain": (TURN + END + ASKING + "{% endif %}", "<user>a fine film<assistant>"),
    # as Qwen 3's: an empty thought where thinking is turned off, and before the last answer
    "qwen 3": (
        TURN + BEFORE.replace("OPENING", "{% if loop.last %}" + THOUGHT + "{% endif %}") + END
        + ASKING + "{% if not enable_thinking|default(true) %}" + THOUGHT + "{% endif %}{% endif %}",
        "<user>a fine film<assistant>" + THOUGHT,
    ),
    # that can't be told not to think, and writes an empty thought before an answer
    "always an empty thought": (
        TURN + BEFORE.replace("OPENING", "<think></think>") + END + ASKING + "{% endif %}",
        "<user>a fine film<assistant><think></think>",
    ),
    # as DeepSeek R1's: asks with an open thought, and leaves thoughts out of answered turns
    "deepseek": (TURN + END + ASKING + "<think>\n{% endif %}", "<user>a fine film<assistant>"),
    # as gpt-oss's: an answer stands in a channel
    "gpt-oss": (
        TURN + BEFORE.replace("OPENING", "<final>") + END + ASKING + "{% endif %}",
        "<user>a fine film<assistant><final>",
    ),
    # as Llama 2's: an answer follows a space, which its tokens have
    "a space": (
        "{% for turn in messages %}{{ ' ' if turn.role == 'assistant' else '[I]' }}{{ turn.content }}"
        "{{ '' if turn.role == 'assistant' else '[/I]' }}{% endfor %}",
        "[I]a fine film[/I]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_ends_where_the_template_puts_an_answer(name):
    template, expected = TEMPLATES[name]
    tokenizer = with_template(template)
    asked = answer_opening(tokenizer).before_answer(conversation(tokenizer, TURNS))
    assert asked == expected
    answered = conversation(tokenizer, [*TURNS, {"role": "assistant", "content": "yes"}], asks=False)
    assert answered.startswith(asked)
    assert answered[len(asked) :].strip() == "yes"


def test_a_template_that_asks_otherwise_than_it_answers_is_refused():
    template = TURN + END + "{% if add_generation_prompt %}<bot>{% endif %}"
    with pytest.raises(FieldError, match="training and use would differ"):
        answer_opening(with_template(template))


@pytest.mark.parametrize(
    ("loop", "takes"),
    [
        ("messages", True),
        ("messages if turn.role != 'system'", False),
        ("messages if turn.role != 'system' or raise_exception('System role not supported')", False),
    ],
)
def test_whether_a_template_has_system_turns(loop, takes):
    assert takes_system(with_template("{% for turn in " + loop + " %}{{ turn.content }}\n{% endfor %}")) is takes
