"""Answers saved to disk as they are computed, so that an interrupted run resumes after the last one."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ia2.errors import InputError
from ia2.inference.predict import Answer
from ia2.locks import held
from ia2.record_metrics import Share


class _Line(BaseModel):
    """An answer as stored on one line of a journal."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prediction: str
    confidence: Share | None
    probabilities: dict[str, Share] | None

    def answer(self) -> Answer:
        return Answer(self.prediction, self.confidence, self.probabilities)


class Journal:
    """A file next to the output with the answers so far: a header line that identifies the run, then one answer a line.

    Create it with `journal_of`, which locks it for one process.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        """Path of the output."""
        self.path = path_of_journal(out)
        self.answers: list[Answer] = []
        """The answers in the file, once `go_on` has read them."""
        self._head = ""
        self._there = True

    def go_on(self, answers_what: str) -> None:
        """Start a new journal, or resume the one of an earlier run with the same inputs.

        Args:
            answers_what: a digest of the texts, the adapter and everything else that the answers depend on.

        Raises:
            InputError: the existing journal belongs to a different run, or is damaged.
        """
        self._head = json.dumps({"answers": answers_what}) + "\n"
        # the last line is incomplete if the process was killed while writing it
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        head, *lines = whole.split(b"\n") if whole else [b""]
        if whole and head.decode(errors="replace") + "\n" != self._head:
            raise InputError(
                f"{self.path}: this holds the answers of a different run for {self.out}. Finish that run, or "
                "delete the file."
            )
        try:
            self.answers = [_Line.model_validate_json(line).answer() for line in lines]
        except ValidationError as error:
            raise InputError(f"{self.path}: this file is damaged. Delete it to answer all rows again.") from error
        os.truncate(self.path, len(whole) + 1 if whole else 0)

    def add(self, answers: Sequence[Answer]) -> None:
        """Append answers to the file."""
        with self.path.open("a", encoding="utf-8") as file:
            head = self._head if file.tell() == 0 else ""
            file.write(head + "".join(json.dumps(asdict(answer)) + "\n" for answer in answers))
        self.answers += answers

    def delete(self) -> None:
        """Delete the journal once the output exists."""
        self.path.unlink()
        self._there = False

    def delete_if_empty(self) -> None:
        """Delete the journal if it has no answers."""
        if self._there and self.path.stat().st_size == 0:
            self.delete()


@contextmanager
def journal_of(out: Path) -> Iterator[Journal]:
    """Open an output's journal, locked for one process; its contents stay on disk for a later run to resume.

    Args:
        out: path of the output.

    Raises:
        InputError: another process holds the lock.
    """
    with held(path_of_journal(out)) as is_ours:
        if not is_ours:
            raise InputError(f"{out}: another ia2 predict is writing this. Wait for it, or name another output.")
        journal = Journal(out)
        try:
            yield journal
        finally:
            journal.delete_if_empty()


def path_of_journal(out: Path) -> Path:
    """Return the path of an output's journal.

    Example:
        >>> path_of_journal(Path("answers.csv")).name
        '.answers.csv.answers.jsonl'
    """
    return out.with_name(f".{out.name}.answers.jsonl")
