import pytest

from ia2.cli.argument_errors import command_of, plain_message


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("unrecognized arguments: x --modl=3", "--modl: there is no such option. Did you mean --model?"),
        ("unrecognized arguments: x y", "x: unexpected value. Quote a text that contains spaces."),
        ("the following arguments are required: adapt.model, adapt.out", "--model and --out: this is required."),
        ("the following arguments are required: run.experiment", "EXPERIMENT: this is required."),
        ("argument --chat/--no-chat: ignored explicit argument '3'", "--chat: this takes no value."),
        ("argument --lr: expected at least one argument", "--lr: this needs a value."),
        (
            "argument COMMAND: invalid choice: 'rum' (choose from 'run')",
            "rum: there is no such command. Did you mean run?",
        ),
        (
            "argument --completion: invalid choice: 'fisch' (choose from 'bash', 'fish')",
            "--completion fisch: expected one of bash, fish. Did you mean fish?",
        ),
        ("something else\nhappened", "something else happened"),
    ],
)
def test_messages_are_put_plainly(message, plain):
    assert plain_message(message, flags=["--model"], positional=["experiment"], commands=["run"]) == plain


def test_a_command_is_read_from_the_arguments_that_it_lacks():
    assert command_of("the following arguments are required: run.experiment") == ["run"]
    assert command_of("the following arguments are required: experiment") == []
    assert command_of("a.b") == []
