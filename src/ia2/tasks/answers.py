"""The answer in a response: where it stands, by a documented order of phrasings, and when two answers are the same.

Numbers, formulas and marked texts are looked for up to where a response begins to recite a demonstration (a line that
opens with `Question:` or `Text:`): what stands behind that line belongs to another question. Where a whole response is
the answer, such a line may be part of it.
"""

import re
import threading
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from ia2.tasks.formulas import boxed, formula
from ia2.tasks.numbers import first_number, last_number

AnswerKind = Literal["number", "boxed", "marked", "text"]
"""A number (GSM8K), a boxed formula (Hendrycks' mathematics), a text behind `####` (SciQ), or the whole response."""

RECITED = re.compile(r"^\s*(?:Question|Text):", re.MULTILINE)
MARK = "####"
SECONDS = 5
"""How long two formulas may be compared."""
PHRASES = re.compile(r"answer\s*(?:is(?![a-z]|\s+not\b)|=|:)", re.IGNORECASE)


def find_number(response: str) -> str | None:
    r"""The number that a response like GSM8K's ends in, in one spelling: `1,234.50` is `1234.5`, `35.0` is `35`.

    The first of these that holds a number decides (appendix A: the mark, and other common phrasings):

    1. what follows the first `####` on its line, or on the next that isn't empty;
    2. the last `\boxed{…}`;
    3. what follows the last "the answer is", "answer:" or "answer =";
    4. the last number of the response.

    A number is read whole or not at all (`ia2.tasks.numbers` says in which spellings): `1,2345` and `3-4` are none.
    """
    last_part = own_part(response)
    # a formula has no spaces to tell a list by
    in_box = formula(re.sub(r",(?!\d|\}|\\!)", ";", boxed(last_part) or ""))
    candidates = [last_part.partition(MARK)[2].strip().partition("\n")[0], in_box]
    candidates += [last_part[phrase.end() :].partition("\n")[0] for phrase in list(PHRASES.finditer(last_part))[-1:]]
    numbers = (first_number(candidate) for candidate in candidates)
    return next((number for number in numbers if number is not None), None) or last_number(last_part)


def find_boxed(response: str) -> str | None:
    r"""What stands in the last `\boxed{…}` or `\fbox{…}` of balanced braces, in one spelling; `\boxed 5` is 5."""
    inside = boxed(own_part(response))
    return None if inside is None else formula(inside)


def find_marked(response: str) -> str | None:
    """The rest of the line behind the first `####`, or the next one that isn't empty. In one Unicode form."""
    rest = own_part(response).partition(MARK)[2].strip().partition("\n")[0].strip()
    return unicodedata.normalize("NFC", rest) or None


def find_text(response: str) -> str | None:
    """The whole response, a line that opens with `Question:` or `Text:` included. In one Unicode form."""
    # some tokenizers compose accents in all that they read, so that a model can't write them apart
    return unicodedata.normalize("NFC", response.strip()) or None


FINDERS: Mapping[AnswerKind, Callable[[str], str | None]] = MappingProxyType(
    {"number": find_number, "boxed": find_boxed, "marked": find_marked, "text": find_text}
)
MATHEMATICAL: frozenset[AnswerKind] = frozenset({"number", "boxed"})
"""Kinds of answers that can be equal without being spelt alike."""


def own_part(response: str) -> str:
    """The response up to where it recites a demonstration."""
    recited = RECITED.search(response)
    return response[: recited.start()] if recited else response


def equivalent(candidate: str, right: str) -> bool:
    """Whether two mathematical answers mean the same: `1/2` and `0.5`, `x+1` and `1+x` (math-verify)."""
    # an import that takes a second, for those who need it
    from math_verify import parse, verify

    # a formula such as 9^{9^{9^9}} would be computed for ever; the alarm that stops it can be set in a main thread only
    limit = SECONDS if threading.current_thread() is threading.main_thread() else None
    gold, answer = (parse(f"${value}$", parsing_timeout=limit) for value in (right, candidate))
    return bool(gold and answer and verify(gold, answer, timeout_seconds=limit))
