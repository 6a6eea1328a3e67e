import pytest

from ia2.cli.option_groups import group_of


def test_an_option_may_mean_something_else_in_one_command():
    assert group_of("adapt", "out") == ("Output", "FOLDER")
    assert group_of("predict", "out") == ("Output", "FILE")


def test_an_option_of_no_group_is_no_option():
    with pytest.raises(KeyError, match="adapt: colour"):
        group_of("adapt", "colour")
