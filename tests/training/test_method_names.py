import pytest

from ia2.errors import FieldError
from ia2.training.method_names import DESCRIPTIONS, checked_method_name
from ia2.training.methods import METHODS


def test_names_and_descriptions_are_those_of_the_methods():
    assert list(DESCRIPTIONS) == list(METHODS)
    assert all(METHODS[name].description == description for name, description in DESCRIPTIONS.items())


def test_a_misspelt_method_is_refused_with_the_one_that_was_meant():
    assert checked_method_name("sft") == "sft"
    with pytest.raises(FieldError, match=r"^method ia2-stf: no such method\. Did you mean ia2-sft\?"):
        checked_method_name("ia2-stf")
