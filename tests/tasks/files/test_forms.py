import json

import pytest
from table_files import check_refusal

from ia2.tasks.files import load_file
from ia2.tasks.files.forms import FORMS, instructed
from ia2.tasks.task import Turn


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(*contents, system=None):
    before = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant") * len(contents)
    return before + [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


def test_of_a_conversation_the_assistants_last_turn_is_the_response(tmp_path):
    rows = [
        turns("Hello?", "Hello, and welcome."),
        turns("Who are you?", "A program.\n\nNothing more.", system="Be brief."),
        turns("One?", "1.", "Two?", "2."),
        turns("Nobody answers?"),
        None,
    ]
    task = load_file(write_lines(tmp_path / "rows.jsonl", [{"messages": row} for row in rows]))
    assert (task.chat, task.form, task.response_kind, task.stop) == (True, "conversation", "text", None)
    assert [row.response for row in task.pool] == ["Hello, and welcome.", "A program.\n\nNothing more.", "2."]
    first, second, third = (row.query for row in task.pool)
    assert type(first) is str
    assert first == "Hello?"
    assert second.turns == (Turn("system", "Be brief."), Turn("user", "Who are you?"))
    assert [turn.content for turn in third.turns] == ["One?", "1.", "Two?"]
    assert task.notes == (
        "rows.jsonl: 'messages' are conversations in the model's chat template; the assistant's last turn is the "
        "response.",
        "rows.jsonl: 2 rows without a query or a response were left out.",
    )


def test_few_short_answers_of_conversations_are_labels_unless_it_is_said_otherwise(tmp_path):
    rows = [{"messages": turns(f"Is {number} even?", "no" if number % 2 else "yes")} for number in range(6)]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    task = load_file(path)
    assert (task.labels, task.chat) == (("no", "yes"), True)
    assert any("responses are read as labels, as there are only 2" in note for note in task.notes)
    assert load_file(path, response_kind="text").labels == ()


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("Hello", "line 1: 'messages' must be a list of turns, each an object with role and content"),
        (["Hello"], "line 1: a turn of 'messages' has no text content. Give each turn a role and content"),
        ([{"role": "user", "content": [{"type": "image"}]}], "line 1: a turn of 'messages' has no text content"),
        (
            [{"role": "tool", "content": "3"}],
            "line 1: a turn has the role 'tool', which is not one of system, user, assistant",
        ),
        (
            [{"role": "assistant", "content": "a"}] * 2,
            "line 1: the assistant's last turn must follow a user turn, not a",
        ),
    ],
)
def test_turns_that_cannot_be_read_are_refused_by_their_row(tmp_path, messages, said):
    check_refusal(tmp_path, "rows.jsonl", json.dumps({"messages": messages}).encode() + b"\n", said)


def test_a_prompt_is_asked_and_its_completion_follows_as_they_are_written(tmp_path):
    rows = [{"prompt": f"Q: {name}\nA:", "completion": f" {name} it is.\n"} for name in "abc"]
    task = load_file(write_lines(tmp_path / "rows.jsonl", [*rows, {"prompt": " ", "completion": "x"}]))
    assert [(row.query, row.response) for row in task.pool] == [(row["prompt"], row["completion"]) for row in rows]
    assert (task.response_kind, task.stop, task.chat, task.description) == (
        "text",
        "\n\n",
        False,
        "completion of prompt",
    )
    assert "rows.jsonl: each 'completion' follows its 'prompt' directly." in task.notes
    named = load_file(tmp_path / "rows.jsonl", text="prompt", label="completion")
    assert named.pool[0].query == "Text:Q: a\nA:\nLabel:"


def test_responses_with_blank_lines_are_not_cut_at_one(tmp_path):
    rows = [{"prompt": name, "completion": f"{name}\n\n{name}"} for name in "abc"]
    task = load_file(write_lines(tmp_path / "rows.jsonl", rows))
    assert task.stop is None
    assert "rows.jsonl: responses contain blank lines, so only the model's end token ends one." in task.notes


def test_instructions_are_asked_in_alpacas_template(tmp_path):
    rows = [
        {"instruction": "Sum up.", "input": "A long text.", "output": "Short."},
        {"instruction": "Name a colour.", "input": "", "output": "Red."},
    ]
    task = load_file(write_lines(tmp_path / "rows.jsonl", rows))
    assert task.pool[0].query == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nSum up.\n\n### Input:\nA long "
        "text.\n\n### Response:"
    )
    assert task.pool[1].query == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName a colour.\n\n### Response:"
    )
    assert [row.response for row in task.pool] == ["Short.", "Red."]
    del rows[0]["input"], rows[1]["input"]
    assert load_file(write_lines(tmp_path / "rows.jsonl", rows)).pool[0].query == instructed("Sum up.")


@pytest.mark.parametrize("form", FORMS)
def test_a_second_file_has_the_same_form(tmp_path, form):
    row = {"messages": turns("a", "b"), "prompt": "a", "completion": "b", "instruction": "a", "output": "b"}
    row = {column: row[column] for column in FORMS[form].columns}
    first = write_lines(tmp_path / "rows.jsonl", [row])
    second = write_lines(tmp_path / "eval.jsonl", [{"text": "a", "label": "b"}])
    missing = FORMS[form].columns[0]
    check = f"eval.jsonl: no column '{missing}', which rows.jsonl has. Rename its column to that"
    with pytest.raises(ValueError, match=check):
        load_file(first, evaluation_path=second)
