"""Answers kept on disk as they come, so that a run that was stopped goes on behind the last one."""

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
    """An answer as a line of a journal has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prediction: str
    confidence: Share | None
    probabilities: dict[str, Share] | None

    def answer(self) -> Answer:
        return Answer(self.prediction, self.confidence, self.probabilities)


class Journal:
    """A file beside the output that its answers will become: what they answer on the first line, then one a line.

    `journal_of` gives one, which no other process has at the same time.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        """The output."""
        self.path = _path_of(out)
        self.answers: list[Answer] = []
        """Those that are there, once `go_on` has read them."""
        self._head = ""
        self._there = True

    def go_on(self, answers_what: str) -> None:
        """Begin anew, or go on behind the answers to the same that an earlier run has left.

        Args:
            answers_what: a digest of the texts, the adapter and all else that the answers depend on.

        Raises:
            InputError: what is left answers something else, or is damaged.
        """
        self._head = json.dumps({"answers": answers_what}) + "\n"
        # the last line may have been cut short when the process was killed
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
        """Write more answers behind those that are there."""
        with self.path.open("a", encoding="utf-8") as file:
            head = self._head if file.tell() == 0 else ""
            file.write(head + "".join(json.dumps(asdict(answer)) + "\n" for answer in answers))
        self.answers += answers

    def delete(self) -> None:
        """Take it away, as its output is there."""
        self.path.unlink()
        self._there = False

    def delete_if_empty(self) -> None:
        """Take it away where nothing was answered."""
        if self._there and self.path.stat().st_size == 0:
            self.delete()


@contextmanager
def journal_of(out: Path) -> Iterator[Journal]:
    """The journal of an output, for one process at a time; what it holds stays for a run that goes on.

    Args:
        out: the output.

    Raises:
        InputError: another process has it.
    """
    with held(_path_of(out)) as is_ours:
        if not is_ours:
            raise InputError(f"{out}: another ia2 predict is writing this. Wait for it, or name another output.")
        journal = Journal(out)
        try:
            yield journal
        finally:
            journal.delete_if_empty()


def _path_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.answers.jsonl")
