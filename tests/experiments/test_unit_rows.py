import pytest
from small_study import study

from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.unit_rows import unit_rows
from ia2.tasks.load import load_task
from ia2.tasks.task import Instruction

LINES = [f"the {thing} was {word},{label}" for thing in "abcdefgh" for word, label in (("fine", 1), ("cold", 0))]


def rows_of(tmp_path, model, lines=LINES, **changes):
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    source = {"data": tmp_path / "rows.csv"} | changes.pop("source", {})
    experiment = study(**{"tasks": [source], "label_scoring": "token"} | changes)
    return unit_rows(experiment, units(experiment)[0], model)


def test_a_set_is_drawn_in_the_form_that_the_model_can_answer(tmp_path, tiny_model):
    (tmp_path / "context.txt").write_text("Say 1 or 0.")
    (tmp_path / "more.txt").write_text("the sea was wide\nthe a was fine\n")
    source = {"unlabelled": tmp_path / "more.txt"}
    rows = rows_of(tmp_path, tiny_model, source=source, context=tmp_path / "context.txt", methods=["ia2"], rows=5)
    few = rows.few_shot_set
    assert (len(few.train), len(few.dev), len(few.evaluation)) == (4, 2, 5)
    assert few.demonstrations() == (Instruction("Say 1 or 0."),)
    assert few.unlabelled == ("Text:the sea was wide\nLabel:",)
    assert {row.response for row in few.train} <= {"0", "1"}  # a space makes two tokens for this tokenizer
    assert rows.of(rows.measured[0]) == few.evaluation
    assert len(rows.compared) == 4
    assert rows.notes[-1] == "more.txt: 1 texts are also labelled rows and were left out."
    assert any(note.startswith("Labels follow the colon without a space") for note in rows.notes)


def test_a_text_that_is_too_long_is_refused(tmp_path, tiny_model):
    with pytest.raises(InputError, match="but the model reads 512"):
        rows_of(tmp_path, tiny_model, [*LINES, "long " * 400 + ",1"])


def test_a_text_that_leaves_no_room_for_the_longest_label_is_refused_before_anything_is_computed(tmp_path, tiny_model):
    opening = len(tiny_model.tokenizer("Text:\nLabel: 1").input_ids)
    # room for its own label, but not for the other one
    measured = tmp_path / "measured.csv"
    measured.write_text(f"text,label\n{'x' * (510 - opening)},1\n")
    lines = [line.replace(",0", ",a label of many tokens") for line in LINES]
    with pytest.raises(InputError, match="but the model reads 512"):
        rows_of(tmp_path, tiny_model, lines, source={"eval_data": measured}, label_scoring="whole", asim_rows=0)


def test_rows_that_teach_are_not_measured_on_another_task_either(tmp_path, tiny_model):
    # a file that holds rows which the built-in task measures: all of them teach, choose, or are asked of the teacher
    texts = [row.query.removeprefix("Text:").removesuffix("\nLabel:") for row in load_task("reviews").evaluation]
    more = tmp_path / "more.txt"
    more.write_text(texts[100] + "\nthe sea was wide\n")
    lines = [f'"{text}",{index % 2}' for index, text in enumerate(texts[:6])]
    asked = {"evaluate": ["rows", "reviews"], "unlabelled": more}
    rows = rows_of(tmp_path, tiny_model, lines, source=asked, methods=["ia2"], label_scoring="whole", rows=None)
    own, reviews = rows.measured
    assert (len(rows.few_shot_set.train), len(rows.few_shot_set.dev), own.name) == (4, 2, "rows")
    taught = {row.query for row in rows.few_shot_set.train + rows.few_shot_set.dev} | {f"Text:{texts[100]}\nLabel:"}
    assert taught.isdisjoint(row.query for row in rows.of(reviews))
    assert len(rows.of(reviews)) == len(texts) - 7
    assert "reviews: 7 rows are left out, as they are in the adapters' training or dev sets." in reviews.notes


def test_a_held_text_of_which_no_token_is_predicted_is_refused_before_anything_is_computed(tmp_path, tiny_model):
    (tmp_path / "held.txt").write_text("a")
    assert len(tiny_model.tokenizer("a").input_ids) == 1
    with pytest.raises(InputError, match="held_text .*held.txt: this text has a single token"):
        rows_of(tmp_path, tiny_model, held_text=tmp_path / "held.txt")
    (tmp_path / "held.txt").write_text("a b")
    assert rows_of(tmp_path, tiny_model, held_text=tmp_path / "held.txt").held_texts == ("a b",)
