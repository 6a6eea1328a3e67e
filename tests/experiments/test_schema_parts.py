from pathlib import Path

import pytest

from ia2.errors import FieldError
from ia2.experiments.schema_parts import Rows, Source, best_of


def test_orders_of_demonstrations_are_told_by_their_name():
    assert best_of("random") is None
    assert best_of("best-of-2") == 2
    for order in ("best", "best-of-1", "best-of-many", "8"):
        with pytest.raises(FieldError, match=f"order {order}: say random, or best-of-K"):
            best_of(order)


def test_a_source_knows_what_is_said_of_its_rows_and_no_more():
    source = Source.model_validate({"data": "/a/b.csv", "label": "y", "n": [4]})
    assert source.train == "b"
    assert source.rows == Rows(data=Path("/a/b.csv"), label="y")
    assert source.rows.files == (Path("/a/b.csv"),)
    assert Source.model_validate("sst2").rows == Rows()
