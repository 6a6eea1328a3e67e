import copy
import json
from dataclasses import replace

import pytest

from ia2.adapters.provenance import Provenance
from ia2.errors import InputError
from ia2.inference.task_form import fitted
from ia2.tasks.files import load_file
from ia2.tasks.load import load_task


@pytest.fixture
def task(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,1\nb,0\nc,1\n")
    return load_file(tmp_path / "rows.csv")


def test_labels_of_a_file_lose_their_space_only_where_that_makes_them_single_tokens(tiny_model, task):
    assert task.labels == (" 0", " 1")
    form = fitted(task, tiny_model, label_scoring="token")
    assert form.labels == ("0", "1")
    assert form.notes[-2:] == (
        "Labels: 1 (2), 0 (1).",
        "Labels follow the colon without a space, because only then is each a single token of this model.",
    )
    whole = fitted(task, tiny_model, label_scoring="whole")
    assert whole.labels == task.labels
    assert whole.notes[-1] == "Labels follow the colon with one space."
    chosen = fitted(task, tiny_model)
    assert chosen.labels == task.labels
    assert chosen.notes[-2:] == (
        "Whole labels are scored against each other; accuracy and calibration are over the labels alone.",
        "Labels follow the colon with one space.",
    )


def test_a_built_in_task_keeps_its_form(tiny_model):
    assert fitted(load_task("reviews"), tiny_model) == load_task("reviews")


def test_a_stop_that_could_never_come_and_a_template_that_is_not_there_are_refused(tiny_model, task):
    with pytest.raises(InputError, match="a text never holds"):
        fitted(replace(task, labels=()), tiny_model, stop="e<|endoftext|>")
    with pytest.raises(InputError, match="no chat template"):
        fitted(task, tiny_model, chat=True)


def test_conversations_are_asked_through_the_template_without_being_told_to(tiny_model, tmp_path):
    rows = [
        f'{{"messages": [{{"role": "user", "content": "{name}"}}, {{"role": "assistant", "content": "b"}}]}}\n'
        for name in "ab"
    ]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    task = load_file(tmp_path / "rows.jsonl")
    with pytest.raises(
        InputError, match="these rows are conversations, but this model has no chat template. Use an ins"
    ):
        fitted(task, tiny_model)
    chatty = copy.deepcopy(tiny_model.tokenizer)
    chatty.chat_template = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}assistant: "
    model = replace(tiny_model, tokenizer=chatty)
    assert fitted(task, model).chat
    assert fitted(task, model).pool == fitted(task, model, chat=True).pool == task.pool
    taught = Provenance((), chat=False, weights=None, queries=frozenset())
    with pytest.raises(InputError, match="the adapter was trained without a chat template. Use rows like those it was"):
        fitted(task, model, taught=taught)
    assert fitted(task, model, taught=replace(taught, chat=True)).chat


def test_a_template_without_system_turns_is_said_of_the_rows_that_have_one(tiny_model, tmp_path):
    chatty = copy.deepcopy(tiny_model.tokenizer)
    chatty.chat_template = (
        "{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ turn.content }}\n{% endfor %}"
    )
    takes = copy.deepcopy(chatty)
    takes.chat_template = "{% for turn in messages %}{{ turn.content }}\n{% endfor %}"
    model = replace(tiny_model, tokenizer=chatty)
    rows = [
        {"messages": [{"role": "user", "content": f"{number}"}, {"role": "assistant", "content": answer}]}
        for number, answer in enumerate(["yes", "no"] * 4)
    ]
    rows[3]["messages"].insert(0, {"role": "system", "content": "s"})
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    note = "It has no system turn, so a system message is put before the user's next message."
    for kind in ("label", "text"):
        form = fitted(load_file(tmp_path / "chats.jsonl", response_kind=kind), model)
        assert form.notes[-1].endswith(note)
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if len(row["messages"]) == 2))
    without = load_file(tmp_path / "chats.jsonl")
    assert not fitted(without, model).notes[-1].endswith(note)
    assert fitted(without, model, context=True).notes[-1].endswith(note)
    assert not fitted(without, replace(model, tokenizer=takes), context=True).notes[-1].endswith(note)
