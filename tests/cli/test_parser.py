import re
import shlex
from dataclasses import fields
from typing import Literal, get_args

import pytest
from command_line import run

from ia2.adapters import registry
from ia2.cli.option_groups import GROUPS
from ia2.cli.parser import COMMANDS, LISTS, build_parser, choices_of
from ia2.models import architecture_table

PYTHON_TYPES = re.compile(r"\btype:|\bOptional\b|\bNone\b|\bnull\b|<class|typing|\bTrue\b|\bFalse\b|\bPath\b|Literal")


def help_of(capsys, command):
    status, out, err = run(capsys, command, "--help")
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_its_help(capsys, command):
    out = help_of(capsys, command)
    blocks = re.split(r"\n  (?=-)", out)[1:]
    assert len(blocks) > 2
    for block in blocks:
        assert len(block.split()) > 3, block


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_types_of_python(capsys, command):
    assert not PYTHON_TYPES.search(help_of(capsys, command))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_a_command_line_first_and_two_that_can_be_parsed_last(capsys, command):
    out = help_of(capsys, command)
    assert out.startswith(f"usage: ia2 {command} ")
    examples = out.partition("\nExamples:\n")[2].splitlines()
    assert len(examples) == 2
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "ia2"
        assert build_parser().parse_args(words).command == command


def test_options_stand_in_groups(capsys):
    out = help_of(capsys, "adapt")
    titles = re.findall(r"^([A-Z][a-z ]+):$", out, flags=re.MULTILINE)
    assert titles == ["Data", "Model", "Method", "Training", "Evaluation", "Output", "Other options", "Examples"]
    (training,) = re.findall(r"^Training:\n(.*?)\n\n", out, flags=re.MULTILINE | re.DOTALL)
    assert "  --lr RATE [RATE ...]" in training
    assert "  --data" not in training


def test_a_group_without_options_of_a_command_is_not_shown(capsys):
    assert "Training:" not in help_of(capsys, "report")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("adapt", "--seed SEED Seed of the draw of rows for training or as demonstrations (default: 0)."),
        ("adapt", "--draw {auto,class,random} How those rows are drawn"),
        ("adapt", "--response-kind {label,text} Whether a file's responses are labels or free text (default: text"),
        ("adapt", "--compare, --no-compare Also measure zero-shot, ICL and SFT, and for labels"),
        ("adapt", "--chat, --no-chat Use the model's chat template. --dtype"),
        ("adapt", "--rank RANK Rank of each update (default: 8 for lora, 256 for vera)."),
        ("adapt", "(default: query key output for lora, ia3, full and vera)."),
        ("adapt", "--batch-size ROWS Training rows per step (default: 4)."),
        ("adapt", "--dropout SHARE Dropout probability of the inputs of each update in training (for lora)."),
        ("adapt", "--adapter KIND What is trained"),
        ("evaluate", "--adapter FOLDER Folder of an adapter"),
        ("evaluate", "--limit ROWS Maximum number of rows to evaluate (default: 500)."),
        ("demo", "--out FOLDER Folder for records, predictions, adapters and figures"),
        ("report", "--format {markdown,latex,html,csv} Tables as Markdown, LaTeX or CSV"),
    ],
)
def test_help_says_what_can_be_typed_and_the_default(capsys, command, shown):
    assert shown in " ".join(help_of(capsys, command).split())


def test_every_option_of_the_groups_is_one_of_a_command():
    options = {name for options in COMMANDS.values() for name in (field.name for field in fields(options))}
    sizes = {"virtual_tokens" if size.name == "tokens" else size.name for size in registry.all_sizes()}
    grouped = {name.rpartition(".")[2] for group in GROUPS.values() for name in group}
    assert grouped == (options - {"sizes"}) | sizes


def test_required_options_stand_in_the_usage():
    for command, options in COMMANDS.items():
        parser = build_parser()._subcommands_action.choices[command]
        for action in parser._actions:
            if action.required and action.option_strings:
                assert f"{action.option_strings[0]} {action.metavar}" in options.usage


def test_projections_are_those_of_the_models():
    assert get_args(registry.Projection) == get_args(architecture_table.Projection)


def test_choices_are_told_for_the_few_values_of_a_type():
    assert choices_of(Literal["a", "b"]) == ["a", "b"]
    assert choices_of(Literal["a", "b"] | None) == ["a", "b"]
    assert choices_of(str | None) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["adpat"], "adpat: there is no such command. Did you mean adapt?\nSee ia2 --help.\n"),
        ([], f"COMMAND: this is required. Choose from {', '.join([*COMMANDS, *LISTS])}.\nSee ia2 --help.\n"),
        (["demo", "--quik"], "--quik: there is no such option. Did you mean --quick?\nSee ia2 demo --help.\n"),
        (["demo", "--see", "1"], "--see: there is no such option. Did you mean --seed?\nSee ia2 demo --help.\n"),
        (["demo", "--seed"], "--seed: this needs a value.\nSee ia2 demo --help.\n"),
        (["demo", "--seed", "two"], "--seed two: expected a whole number.\nSee ia2 demo --help.\n"),
        (["tasks", "--all"], "--all: there is no such option.\nSee ia2 tasks --help.\n"),
        (["run"], "EXPERIMENT: this is required.\nSee ia2 run --help.\n"),
        (["adapt", "--out", "o"], "--model: this is required.\nSee ia2 adapt --help.\n"),
        (
            ["report", "a", "--format", "htm"],
            "--format htm: expected one of markdown, latex, html, csv. Did you mean html?\nSee ia2 report --help.\n",
        ),
        (
            ["adapt", "--model", "m", "--data", "d", "--out", "o", "--modules", "value", "querry"],
            "--modules querry: expected one of query, key, value, output. Did you mean query?\nSee ia2 adapt --help.\n",
        ),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence(capsys, words, said):
    assert run(capsys, *words) == (2, "", said)
