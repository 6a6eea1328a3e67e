r"""Extracting answers as the paper's published scripts do: `benchmark_options: {answers: published}`.

These parsers are more lenient, and sometimes wrong: a minus sign is ignored, the first comma of a sentence can be taken
for a number, and a box ends at the last brace of its line. They exist to compare with the paper's numbers;
`ia2.tasks.answers` has the parsers that are used by default. Two answers are equal only if they are the same text.
"""

import re
from collections.abc import Iterable

_NUMBER = r"[0-9,]+(?:\.[0-9]+)?"
_UNITS = (
    "miles?|meters?|hours?|minutes?|bolts?|glasses?|vacuum cleaners?|sheep|eggs?|cups?|downloads?|years?|weeks?"
    "|dollars?|GB"
)
_PHRASES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\\boxed\{([^}]+)\}",
        r"####\s*([^\n]+)",
        r"answer:\s*([^\n]+)",
        r"the answer is\s*([^\n]+)",
        r"answer is\s*([^\n]+)",
        r"answer\s+([^\n]+)",
        rf"\$\s*({_NUMBER})",
        rf"({_NUMBER})\s*(?:{_UNITS})",
    )
)
"""Where a number is looked for: the last match of the first pattern that matches at all."""
_LONGEST_LINE = 200
"""Lines with more characters are not searched for a number."""


def find_number(response: str) -> str | None:
    r"""Return the number of a response as the scripts read GSM8K's, without its sign, or a text without a number.

    The last match of the first of these decides: `\boxed{…}`, the rest of a line after `####`, "answer:", "the answer
    is", "answer is" or "answer", a dollar amount, and a number before one of fourteen units. Its first number is the
    answer, or the whole match if it has none. A response with none of them is searched for its last number, except
    years (1900 to 2100) and numbers between 0 and 1. If there is none, the response itself is the answer.
    """
    text = response.strip()
    for phrase in _PHRASES:
        if matches := phrase.findall(text):
            return _number_of(matches[-1].strip()) or None
    numbers = re.findall(rf"\b({_NUMBER})\b", text)
    lines = [line for line in text.split("\n") if len(line.strip()) <= _LONGEST_LINE and "?" not in line]
    in_lines = [number for line in lines for number in re.findall(_NUMBER, line)[-1:]]
    return _last_plausible(numbers) or _last_plausible(in_lines) or text or None


def find_boxed(response: str) -> str | None:
    r"""Return the text between the first `\boxed{` and the last brace of its line, without spaces."""
    box = re.search(r"\\boxed\{(.*)\}", response)
    return box and box[1].replace(" ", "").replace("\\dfrac{", "\\frac{").strip()


def find_marked(response: str) -> str | None:
    """Return everything after the last `####`, or the whole response if it has no such mark."""
    return response.rpartition("####")[2].strip() or None


def _number_of(phrase: str) -> str:
    """Return the first number of a phrase, or the phrase without the signs around it."""
    phrase = re.sub(r"^\s*:\s*", "", phrase.removeprefix("$"))
    phrase = re.sub(r"^\s*\\boxed\{", "", phrase)
    phrase = re.sub(r"[.,]\s*$", "", re.sub(r"\}\s*$", "", phrase))
    number = re.search(_NUMBER, phrase)
    return (number and _normalised(number[0])) or phrase.strip()


def _last_plausible(numbers: Iterable[str]) -> str | None:
    """Return the last number that is neither a year nor between 0 and 1, normalised."""
    for number in reversed([normalised for number in numbers if (normalised := _normalised(number))]):
        value = float(number)
        if not (1900 <= value <= 2100 and value.is_integer()) and not 0 < value < 1:
            return number
    return None


def _normalised(number: str) -> str | None:
    """Return a number as Python writes it, an integer if it is one; None for commas alone."""
    digits = number.replace(",", "")
    if not digits:
        return None
    value = float(digits)
    return str(int(value)) if value.is_integer() else str(value)
