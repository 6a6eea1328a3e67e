import pytest
from table_files import check_refusal, write

from ia2.errors import InputError
from ia2.tasks.files import load_file


def test_rows_that_lack_something_or_repeat_a_text_are_left_out_and_counted(tmp_path):
    rows = [("a", "x"), ("", "x"), ("b", None), ("a", "y"), ("c", "y"), ("c", "y")]
    task = load_file(write(tmp_path / "rows.jsonl", rows))
    assert [example.query for example in task.pool] == ["Text:a\nLabel:", "Text:c\nLabel:"]
    assert "rows.jsonl: 2 rows without a text or a label were left out." in task.notes
    said = "rows.jsonl: 2 rows repeat a text and were left out (1 of these texts have different labels)."
    assert said in task.notes


def test_what_is_evaluated_is_never_trained_on(tmp_path):
    train = write(tmp_path / "train.csv", [("a", "x"), ("b", "y"), ("c", "x")])
    evaluation = write(tmp_path / "eval.jsonl", [("b", "y"), ("d", "x")])
    task = load_file(train, evaluation_path=evaluation)
    assert [example.query for example in task.pool] == ["Text:a\nLabel:", "Text:c\nLabel:"]
    assert {example.query for example in task.evaluation} == {"Text:b\nLabel:", "Text:d\nLabel:"}
    assert not {example.query for example in task.pool} & {example.query for example in task.evaluation}
    assert any("1 rows are also evaluated" in note for note in task.notes)


def test_a_file_whose_texts_are_all_evaluated_is_refused_by_name(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="it holds every text of rows.csv, so none is left for training"):
        load_file(path, evaluation_path=path)


def test_many_long_labels_are_free_text_and_that_is_said(tmp_path):
    rows = [(f"question {index}", f"an answer of its own, which is number {index} of them") for index in range(12)]
    path = write(tmp_path / "rows.csv", rows)
    task = load_file(path)
    assert task.response_kind == "text"
    assert any("free text" in note for note in task.notes)
    assert load_file(path, response_kind="label").response_kind == "label"
    short = write(tmp_path / "short.csv", [(f"q{index}", f"a{index}") for index in range(12)])
    assert load_file(short).response_kind == "label"


def test_labels_and_columns_of_the_second_file_must_be_the_firsts(tmp_path):
    train = write(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="the label 'z' is not among those of train.csv"):
        load_file(train, evaluation_path=write(tmp_path / "eval.csv", [("c", "z")]))
    with pytest.raises(InputError, match="no column 'label'"):
        load_file(train, evaluation_path=write(tmp_path / "other.csv", [("c", "z")], ("text", "mark")))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"text,label\na,x\nb,x\n", "every row has the label 'x'"),
        ("rows.csv", b"text,label\n,x\nb,\n", "no row has both"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(tmp_path, name, content, said):
    check_refusal(tmp_path, name, content, said)
