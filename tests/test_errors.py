import pickle

from ia2.errors import ChangedFieldsError, FieldError, InputError, printable


def test_a_field_is_named_with_its_value_and_may_have_another_name():
    error = FieldError("learning_rate", -1.0, "this must be a positive number.")
    assert str(error) == "learning_rate -1: this must be a positive number."
    assert error.named("--lr") == "--lr -1: this must be a positive number."
    assert str(FieldError("stop", None, "leave it out.")) == "stop: leave it out."


def test_an_error_comes_whole_from_another_process():
    error = pickle.loads(pickle.dumps(FieldError("n", 1, "at least 2 are needed.")))
    assert (error.field, error.value, error.rule) == ("n", 1, "at least 2 are needed.")


def test_changed_fields_may_have_other_names():
    error = ChangedFieldsError(["rows", "ece"], "{a}: other settings ({fields}).")
    assert str(error) == "{a}: other settings (rows, ece)."
    assert error.named(["--limit"]) == "{a}: other settings (--limit)."


def test_what_moves_the_cursor_of_a_terminal_is_escaped():
    assert printable("a\r\n\x1b[2J\u202eé ½") == "a\\r\\n\\x1b[2J\\u202eé ½"
    assert str(InputError("rows.csv: \x1b[31mred\nand more")) == "rows.csv: \\x1b[31mred\nand more"
