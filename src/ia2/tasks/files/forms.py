"""How a row becomes a query and a response: a text and its label, a prompt, an instruction, or a conversation."""

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
    """A form of rows."""

    name: RowForm
    columns: tuple[str, ...]
    """Those of its queries and its responses."""
    description: str
    """One line for people."""
    query: Callable[[Row, str], str]
    """The query of a row at a position; empty where the row has none."""
    response: Callable[[Row, str], str]
    """The response, as it follows the query; empty where the row has none."""

    def fits(self, table: Table) -> bool:
        """Whether a table has the form's columns."""
        return set(self.columns).issubset(table.columns)


def labelled(text: str, label: str | None) -> Form:
    """The form of rows of a text and a label.

    Args:
        text: the column of texts.
        label: the column of labels; None where rows have none.
    """

    def query(row: Row, position: str) -> str:
        content = cell_text(cell_of(row, text), position, text)
        return content and query_of_text("labelled", content)

    def response(row: Row, position: str) -> str:
        content = cell_text(cell_of(row, label), position, label) if label is not None else ""
        return content and f" {content}"

    return Form("labelled", (text,) if label is None else (text, label), f"{label} of {text}", query, response)


def query_of_text(form: RowForm, text: str) -> str:
    r"""The query of a text alone.

    Example:
        >>> query_of_text("labelled", "a fine film")
        'Text:a fine film\nLabel:'
    """
    if form == "labelled":
        return f"Text:{text}\nLabel:"
    return instructed(text) if form == "instruction" else text


def instructed(instruction: str, context: str = "") -> str:
    """The prompt of Stanford Alpaca's instructions, with what each is about where there is something.

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
    """The query that turns before a response are.

    Raises:
        InputError: the last of them is not the user's.
    """
    if not turns:
        return ""
    if turns[-1].role != "user":
        raise InputError(f"{position}: the assistant's last turn must follow a user turn, not a {turns[-1].role} turn.")
    return turns[0].content if len(turns) == 1 else Dialogue(turns)


def _messages(row: Row, position: str) -> tuple[tuple[Turn, ...], str]:
    """The turns before the assistant's last one, and that one; it is empty where the conversation ends otherwise."""
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
    """A text as it is; empty where it's missing or blank."""
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
"""The forms that a file has by its columns, where no column is named; the first that fits is taken."""
SAID: Mapping[RowForm, str] = MappingProxyType(
    {
        "conversation": "'messages' are conversations in the model's chat template; the assistant's last turn is the "
        "response.",
        "prompt": "each 'completion' follows its 'prompt' directly.",
        "instruction": "each 'instruction', with its 'input' if any, is asked in Alpaca's template; 'output' follows.",
    }
)
"""What is said of each form when it is taken."""
