"""Row forms, which turn a row into a query and a response: text and label, prompt, instruction or conversation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ia2.errors import InputError
from ia2.tasks.files.table import Row, Table, cell_of, cell_text
from ia2.tasks.task import Dialogue, RowForm, Turn

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Form:
    """A row form: its columns, and how they become a query and a response."""

    name: RowForm
    columns: tuple[str, ...]
    """The columns of queries and of responses."""
    description: str
    """One-line description for users."""
    query: Callable[[Row, str], str]
    """Return the query of a row at a position; empty if the row has none."""
    response: Callable[[Row, str], str]
    """Return the response as it follows the query; empty if the row has none."""

    def fits(self, table: Table) -> bool:
        """Whether a table has this form's columns."""
        return set(self.columns).issubset(table.columns)


def labelled(text: str, label: str | None) -> Form:
    """Return the form of rows with a text and a label.

    Args:
        text: the text column.
        label: the label column; None if rows have no labels.
    """

    def query(row: Row, position: str) -> str:
        content = cell_text(cell_of(row, text), position, text)
        return content and query_of_text("labelled", content)

    def response(row: Row, position: str) -> str:
        content = cell_text(cell_of(row, label), position, label) if label is not None else ""
        return content and f" {content}"

    return Form("labelled", (text,) if label is None else (text, label), f"{label} of {text}", query, response)


def query_of_text(form: RowForm, text: str) -> str:
    r"""Return the query for a bare text in a form.

    Example:
        >>> query_of_text("labelled", "a fine film")
        'Text:a fine film\nLabel:'
    """
    if form == "labelled":
        return f"Text:{text}\nLabel:"
    return instructed(text) if form == "instruction" else text


def instructed(instruction: str, context: str = "") -> str:
    """Return Stanford Alpaca's prompt for an instruction, with its context if there is any.

    Example:
        >>> instructed("Name a colour.").splitlines()[2:]
        ['### Instruction:', 'Name a colour.', '', '### Response:']
    """
    paired = ", paired with an input that provides further context" if context else ""
    context_part = f"### Input:\n{context}\n\n" if context else ""
    return (
        f"Below is an instruction that describes a task{paired}. Write a response that appropriately completes the "
        f"request.\n\n### Instruction:\n{instruction}\n\n{context_part}### Response:"
    )


def conversation_query(turns: tuple[Turn, ...], position: str) -> str:
    """Return the query made of the turns before a response: text for a single turn, else a `Dialogue`.

    Raises:
        InputError: the last turn is not the user's.
    """
    if not turns:
        return ""
    if turns[-1].role != "user":
        raise InputError(f"{position}: the assistant's last turn must follow a user turn, not a {turns[-1].role} turn.")
    return turns[0].content if len(turns) == 1 else Dialogue(turns)


def _messages(row: Row, position: str) -> tuple[tuple[Turn, ...], str]:
    """Split a conversation into earlier turns and the assistant's final turn, empty if it doesn't end with one."""
    messages = row.get("messages")
    if messages is None:
        return (), ""
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{position}: 'messages' must be a list of turns, each an object with role and content.")
    turns = [_turn(message, position) for message in messages]
    if turns[-1].role == "assistant":
        return tuple(turns[:-1]), turns[-1].content
    return tuple(turns), ""


def _turn(message: Any, position: str) -> Turn:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
        raise InputError(f"{position}: a turn of 'messages' has no text content. Give each turn a role and content.")
    role = message.get("role")
    if role not in ROLES:
        raise InputError(
            f"{position}: a turn has the role {role!r}, which is not one of {', '.join(ROLES)}. Leave the row out."
        )
    return Turn(role, message["content"])


def _verbatim(row: Row, position: str, column: str) -> str:
    """Return a cell's text unchanged, or the empty string if it is missing or blank."""
    value = row.get(column)
    if isinstance(value, str):
        return value if value.strip() else ""
    return cell_text(value, position, column)


def _instruction(row: Row, position: str) -> str:
    instruction = _verbatim(row, position, "instruction")
    return instruction and instructed(instruction, _verbatim(row, position, "input"))


FORMS: Mapping[RowForm, Form] = MappingProxyType(
    {
        "conversation": Form(
            "conversation",
            ("messages",),
            "the assistant's last turn in messages",
            lambda row, position: conversation_query(_messages(row, position)[0], position),
            lambda row, position: _messages(row, position)[1],
        ),
        "prompt": Form(
            "prompt",
            ("prompt", "completion"),
            "completion of prompt",
            lambda row, position: _verbatim(row, position, "prompt"),
            lambda row, position: _verbatim(row, position, "completion"),
        ),
        "instruction": Form(
            "instruction",
            ("instruction", "output"),
            "output of instruction",
            _instruction,
            lambda row, position: _verbatim(row, position, "output"),
        ),
    }
)
"""Forms recognised by a file's columns, if the user names none; the first that fits is used."""
SAID: Mapping[RowForm, str] = MappingProxyType(
    {
        "conversation": "'messages' are conversations in the model's chat template; the assistant's last turn is the "
        "response.",
        "prompt": "each 'completion' follows its 'prompt' directly.",
        "instruction": "each 'instruction', with its 'input' if any, is asked in Alpaca's template; 'output' follows.",
    }
)
"""The note for the user when a form is recognised."""
