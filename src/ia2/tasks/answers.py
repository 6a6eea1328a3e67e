"""Extracting the answer from a generated response, and comparing two answers.

Numbers, formulas and marked texts are searched for only before the first line that starts with `Question:` or `Text:`.
From that line on the response copies a demonstration, and what follows answers another question. Where the whole
response is the answer, such a line is part of it.
"""

import re
import threading
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from ia2.tasks import published_answers
from ia2.tasks.formulas import boxed, formula
from ia2.tasks.numbers import first_number, last_number

AnswerKind = Literal["number", "boxed", "marked", "text", "published-number", "published-boxed", "published-marked"]
"""A number (GSM8K), a boxed formula (Hendrycks' mathematics), the text after `####` (SciQ), or the whole response; the
first three also as the published scripts extract them."""

RECITED = re.compile(r"^\s*(?:Question|Text):", re.MULTILINE)
MARK = "####"
COMPARISON_SECONDS = 5
"""Time limit for comparing two formulas."""
PHRASES = re.compile(r"answer\s*(?:is(?![a-z]|\s+not\b)|=|:)", re.IGNORECASE)


def find_number(response: str) -> str | None:
    r"""Return the final number of a response like GSM8K's, normalised: `1,234.50` to `1234.5`, `35.0` to `35`.

    The first of these places that holds a number decides (appendix A: the mark, and other common phrasings):

    1. the rest of the line after the first `####`, or the next line that isn't empty;
    2. the last `\boxed{…}`;
    3. the rest of the line after the last "the answer is", "answer:" or "answer =";
    4. the last number of the response.

    A number is read whole or not at all: `1,2345` and `3-4` are not numbers. `ia2.tasks.numbers` lists the spellings.
    """
    last_part = before_recitation(response)
    # `formula` removes spaces, so a comma that separates items must not become a thousands separator
    in_box = formula(re.sub(r",(?!\d|\}|\\!)", ";", boxed(last_part) or ""))
    candidates = [last_part.partition(MARK)[2].strip().partition("\n")[0], in_box]
    candidates += [last_part[phrase.end() :].partition("\n")[0] for phrase in list(PHRASES.finditer(last_part))[-1:]]
    numbers = (first_number(candidate) for candidate in candidates)
    return next((number for number in numbers if number is not None), None) or last_number(last_part)


def find_boxed(response: str) -> str | None:
    r"""Return the normalised content of the last `\boxed{…}` or `\fbox{…}` with balanced braces; `\boxed 5` is 5."""
    inside = boxed(before_recitation(response))
    return None if inside is None else formula(inside)


def find_marked(response: str) -> str | None:
    """Return the rest of the line after the first `####`, or the next line that isn't empty, in Unicode form NFC."""
    rest = before_recitation(response).partition(MARK)[2].strip().partition("\n")[0].strip()
    return unicodedata.normalize("NFC", rest) or None


def find_text(response: str) -> str | None:
    """Return the whole response, including any line that starts with `Question:` or `Text:`, in Unicode form NFC."""
    # some tokenizers compose accents, so a model can't generate the decomposed form
    return unicodedata.normalize("NFC", response.strip()) or None


FINDERS: Mapping[AnswerKind, Callable[[str], str | None]] = MappingProxyType(
    {
        "number": find_number,
        "boxed": find_boxed,
        "marked": find_marked,
        "text": find_text,
        "published-number": published_answers.find_number,
        "published-boxed": published_answers.find_boxed,
        "published-marked": published_answers.find_marked,
    }
)
PUBLISHED: Mapping[AnswerKind, AnswerKind] = MappingProxyType(
    {"number": "published-number", "boxed": "published-boxed", "marked": "published-marked"}
)
"""The published scripts' variant of each kind that they parse differently."""
MATHEMATICAL: frozenset[AnswerKind] = frozenset({"number", "boxed"})
"""Kinds of answers that can be equal although they are spelt differently."""


def before_recitation(response: str) -> str:
    """Return the response up to where it starts to copy a demonstration."""
    recited = RECITED.search(response)
    return response[: recited.start()] if recited else response


def equivalent(candidate: str, right: str) -> bool:
    """Whether two mathematical answers are equal: `1/2` and `0.5`, `x+1` and `1+x` (math-verify)."""
    # imported here because it takes a second and few tasks need it
    from math_verify import parse, verify

    # 9^{9^{9^9}} would be evaluated for ever; the time limit uses an alarm, which only the main thread can set
    limit = COMPARISON_SECONDS if threading.current_thread() is threading.main_thread() else None
    gold, answer = (parse(f"${value}$", parsing_timeout=limit) for value in (right, candidate))
    return bool(gold and answer and verify(gold, answer, timeout_seconds=limit))
