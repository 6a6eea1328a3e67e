from pathlib import Path

import pytest
from pydantic import ValidationError

from ia2.errors import FieldError
from ia2.experiments.schema_parts import Rows, Source, best_of


def test_orders_of_demonstrations_are_told_by_their_name():
    assert best_of("random") is None
    assert best_of("best-of-2") == 2
    for order in ("best", "best-of-1", "best-of-many", "8"):
        with pytest.raises(FieldError, match=f"order {order}: use random, or best-of-K"):
            best_of(order)


def test_a_source_knows_what_is_said_of_its_rows_and_no_more():
    source = Source.model_validate({"data": "/a/b.csv", "label": "y", "n": [4]})
    assert source.train == "b"
    assert source.rows == Rows(data=Path("/a/b.csv"), label="y")
    assert source.rows.files == (Path("/a/b.csv"),)
    assert Source.model_validate("sst2").rows == Rows()


def test_a_dataset_of_the_hub_keeps_its_name_where_files_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    source = Source.model_validate({"data": "hf:owner/name-1.5:config:train", "eval_data": "more.csv"})
    assert (str(source.data), source.train) == ("hf:owner/name-1.5:config:train", "name-1.5-config-train")
    assert source.eval_data == tmp_path / "more.csv"
    assert Source.model_validate(source.model_dump(mode="json")) == source


def test_an_encoding_is_one_that_python_knows_and_goes_with_a_file():
    with pytest.raises(ValidationError, match="encoding utf-9: there is no such text encoding"):
        Rows(data=Path("/a/b.csv"), encoding="utf-9")
    with pytest.raises(ValidationError, match="encoding cp1252: a built-in task has its own columns"):
        Rows(encoding="cp1252")
