"""Answers kept on disk as they come, so that a run that was stopped goes on behind the last one."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ia2.errors import InputError
from ia2.inference.predict import Answer
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
    """A file beside the output that its answers will become: what they answer on the first line, then one a line."""

    def __init__(self, out: Path, answers_what: str) -> None:
        """Begin one, or go on with one that was begun for the same.

        Args:
            out: the output.
            answers_what: a digest of the texts, the adapter and all else that the answers depend on.

        Raises:
            InputError: there is one of something else, or it is damaged.
        """
        self.path = out.with_name(f".{out.name}.answers.jsonl")
        self.answers: list[Answer] = []
        """Those that are there."""
        self._size = 0
        """Bytes of the file, as long as nobody else writes to it."""
        self._head = json.dumps({"answers": answers_what}) + "\n"
        if self.path.exists():
            self._read(out)

    def _read(self, out: Path) -> None:
        # the last line may have been cut short when the process was killed
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        head, *lines = whole.split(b"\n") if whole else [b""]
        if whole and head.decode(errors="replace") + "\n" != self._head:
            raise InputError(
                f"{self.path}: this holds the answers of a different run for {out}. Finish that run, or delete the "
                "file."
            )
        try:
            self.answers = [_Line.model_validate_json(line).answer() for line in lines]
        except ValidationError as error:
            raise InputError(f"{self.path}: this file is damaged. Delete it to answer all rows again.") from error
        self._size = len(whole) + 1 if whole else 0
        os.truncate(self.path, self._size)

    def add(self, answers: Sequence[Answer]) -> None:
        """Write more answers behind those that are there, into a folder that is made if it isn't there.

        Raises:
            InputError: another run has written some meanwhile.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() != self._size:
                raise InputError(
                    f"{self.path}: another run is writing its answers here. Wait for it to end, or name another output."
                )
            file.write(self._head * (not self._size) + "".join(json.dumps(asdict(answer)) + "\n" for answer in answers))
            file.flush()
            self._size = file.tell()
        self.answers += answers

    def delete(self) -> None:
        """Take it away, as its output is there."""
        self.path.unlink(missing_ok=True)
