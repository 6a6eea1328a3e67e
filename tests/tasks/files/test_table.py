from decimal import Decimal

import pytest
from table_files import write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.table import cell_text


def test_values_that_are_no_strings_become_the_words_people_write(tmp_path):
    rows = [("a", True), ("b", False), ("c", 3), ("d", 3.0), ("e", 0.5), (12, "x")]
    task = load_file(write(tmp_path / "rows.jsonl", rows))
    assert [example.response for example in task.pool] == [" true", " false", " 3", " 3", " 0.5", " x"]
    assert task.pool[-1].query == "Text:12\nLabel:"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (float("nan"), ""), (True, "true"), (1e20, "100000000000000000000"), (-0.0, "0"), (" a\n", "a")],
)
def test_a_cell_as_text(value, text):
    assert cell_text(value, "rows.csv, line 2", "text") == text


def test_a_value_that_is_no_plain_one_is_refused_by_its_row():
    with pytest.raises(InputError, match="^rows.parquet, row 2: 'label' holds a Decimal; texts and labels must be"):
        cell_text(Decimal(1), "rows.parquet, row 2", "label")
