from pathlib import Path

from ia2.cli.flags import option_of, with_flags
from ia2.errors import ChangedFieldsError, FieldError, InputError


def test_a_field_has_an_option_of_another_name_or_of_its_own():
    assert option_of("learning_rates") == "lr"
    assert option_of("epochs") == "epochs"


def test_a_value_is_said_as_it_was_typed():
    error = FieldError("context", "/far/away/context.txt", "no.")
    assert with_flags(error, {"context": Path("context.txt")}) == "--context context.txt: no."


def test_fields_of_a_studys_own_file_keep_their_names():
    error = FieldError("learning_rates", -1.0, "no.")
    assert with_flags(error, {"experiment": Path("a.yaml"), "lr": ()}) == "learning_rates -1: no."


def test_changed_fields_are_named_once_each():
    error = ChangedFieldsError(["learning_rate", "learning_rates", "colour"], "not {fields}.")
    assert with_flags(error, {"lr": ()}) == "not --lr, colour."


def test_another_error_is_said_as_it_is():
    assert with_flags(InputError("rows.csv: no."), {}) == "rows.csv: no."
