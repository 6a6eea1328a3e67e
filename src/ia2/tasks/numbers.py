r"""Numbers as people write them, read whole or not at all.

Read are thousands parted by commas, spaces, apostrophes, low lines or points (`1,029`, `1 029`, `1'029`, `1_029`,
`1.029,50`), fractions and mixed numbers (`1/2`, `½`, `3 1/2`, `3½`, `\frac12`), powers (`10^3`, `10³`, `1e3`,
`2 × 10^3`), digits of other scripts (`٣`), and `2 million`. A unit, a percent sign or a currency changes nothing.

No number, as no single one is meant, or which one isn't sure: `1,2345`, `3,5`, `3-4`, `1:30`, `1/2/2020`, `3k`, `√2`,
`2π`, `0x1F`, `0.(3)`, `0.333…`.
"""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

from ia2.tasks.formulas import MIXED, braced_fractions

LONGEST = 300
"""Characters of the longest number that is read."""
# thousands apart as in English or as in India, or not apart
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}|\d+)(?:\.\d+)?"
# a sign, a currency sign and digits, or a fraction. A power of ten has two digits at most, since a longer one would be
# written out
NUMBER = re.compile(
    rf"""(?<![\w.^])(?P<sign>[-−+]?)(?:[$€£¥]\s?)?(?P<inner>[-−]?)
        (?<!\d[,/])(?P<digits>(?:{DIGITS}|\.\d+)(?:e[-+]?\d\d?)?)
        (?:\s?/\s?(?P<below>(?=[\d.,]*[1-9]){DIGITS}))?
        (?!\d|[.,/]\d|e[-+]?\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_NONE = "□"
"""Stands where a text has digits that are no number of ours."""
_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_WHOLE = r"(?<![\w.,/^])"
"""Before a number: nothing that it would be a part of."""
_POWER = re.compile(
    rf"{_WHOLE}({DIGITS})\s?(?:\^|\*\*)\s?(?:\{{\s*([-−]?\d{{1,2}})\s*\}}|([-−]?\d{{1,2}}))(?![\d^]|\.\d)"
)
_TIMES_TEN = re.compile(rf"{_WHOLE}({DIGITS})\s?(?:×|·|\*|x|\\times|\\cdot)\s?1e(-?\d\d?)(?!\d)")
_SIDE = r"[$€£¥]?\d(?:[\d.,/]*\d)?%?"
_SEVERAL = re.compile(rf"(?<![\w.,/])(?:{_SIDE}(?:[-–−:]{_SIDE})+|\d[\d.,/]*\.\.+\d[\d.]*)")
"""A range, a date, a time or a ratio."""
_NO_NUMBER = (
    # roots, and what is a multiple of one or of a letter that is a number
    re.compile(rf"(?:{DIGITS})?\s?(?:√\s?|\\sqrt\s*(?:\[[^\]\n]*\])?\s*\{{?\s*){DIGITS}"),
    re.compile(rf"{_WHOLE}{DIGITS}\s?(?=√|\\sqrt|π|\\pi(?![a-z]))"),
    # other bases
    re.compile(r"(?<!\w)0[xXbBoO][0-9A-Fa-f]+"),
    # digits that go on for ever
    re.compile(r"\d*\.(?:\d*(?:\(\d+\)|\\(?:overline|bar)\b\s*\{\d+\})|\d+(?:\.\.+|…))"),
    re.compile(r"\d[\d.,]*_[\d_]+"),
    re.compile(rf"{_WHOLE}\d[\d.,]*(?:[kKMB]|bn)\b"),
    re.compile(rf"±\s?{DIGITS}"),
)


def first_number(text: str) -> str | None:
    """The first number of a text, in one spelling: `1234.5`, `-3`, `7/2`; None where there is none."""
    match = NUMBER.search(_plain(text))
    return None if match is None else _spelt(match)


def last_number(text: str) -> str | None:
    """The last number of a text, spelt as by `first_number`."""
    last = None
    for last in NUMBER.finditer(_plain(text)):  # noqa: B007
        pass
    return None if last is None else _spelt(last)


def _plain(text: str) -> str:
    """The text with its numbers as `NUMBER` knows them."""
    # as LaTeX has them
    text = text.replace("\\$", "$").replace("{,}", ",").replace("\\!", "")
    text = re.sub(r"\^\s?(?:\{\s*\\circ\s*\}|\\circ)", "°", text)
    # stars that set off a word, not those that multiply
    text = re.sub(r"(?<![\w*])\*+(?=\S)", "", text)
    text = _ascii(text)
    # before what takes time over them
    text = re.sub(rf"(?:\d+[^\S\n])?\d[\d.,/]{{{LONGEST},}}", _NONE, text)
    text = _grouped(text)
    text = re.sub(r"(?<=\d)(?=\\frac)", " ", braced_fractions(text))
    text = re.sub(r"\\frac\{\s*([-−]?)([\d.,]+)\s*\}\{\s*([-−]?)([\d.,]+)\s*\}", r"\1\3\2/\4 ", text)
    text = MIXED.sub(_improper, text)
    for pattern in _NO_NUMBER:
        text = pattern.sub(_NONE, text)
    text = _TIMES_TEN.sub(r"\1e\2", _POWER.sub(_raised, text))
    # what else is raised, and how far
    text = re.sub(r"(?:\d[\d.,]*\s?)?\^\s?\{?\s*[-−]?[\w.^]*|\d[\d.,]*\*\*\d[\w.^]*", _NONE, text)
    text = _magnified(_SEVERAL.sub(_NONE, text))
    # behind a number on its line it adds or subtracts: set apart, it's no sign of what follows
    return re.sub(r"(?<=\d)[^\S\n]*([-−+])", r" \1 ", text)


def _ascii(text: str) -> str:
    """Digits of any script and form, fractions of one character and raised digits as those of a typewriter."""
    written = []
    for character in text:
        kind = "" if character.isascii() else unicodedata.category(character)
        if kind == "Nd":
            written.append(str(unicodedata.decimal(character)))
        elif kind == "No" and "⁄" in (parts := unicodedata.normalize("NFKC", character)):
            before = " " if written and written[-1][-1:].isdigit() else ""
            written.append(before + parts.replace("⁄", "/"))
        else:
            written.append({"٫": ".", "٬": ",", "⁄": "/"}.get(character, character))
    text = "".join(written)
    return re.sub(r"(?<=\d)[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)


def _grouped(text: str) -> str:
    """Thousands parted otherwise than by commas, and the comma before decimals that can't be misread."""
    # a formula's thin space, and those of Unicode
    text = re.sub(r"(?<=\d)(?:\\,|[\u00a0\u2009\u202f])(?=\d{3})", "\u00a0", text)
    parted = (
        rf"{_WHOLE}\d{{1,3}}(?:(?P<by>[\u00a0 '’_.])\d{{3}}(?:(?P=by)\d{{3}})*)(?P<rest>,\d{{1,2}}(?!\d|,\d)|\.\d+|)"
    )
    return re.sub(rf"{parted}(?![\d_]|\s?/|['’]\d|[.,]\d)", _with_commas, text)


def _with_commas(match: re.Match[str]) -> str:
    by, rest = match["by"], match["rest"]
    whole = match[0].removesuffix(rest)
    # 1.029 and 1.029.5 say nothing of thousands
    if by == "." and not rest.startswith(",") and (rest or whole.count(".") < 2):
        return match[0]
    return whole.replace(by, ",") + rest.replace(",", ".")


def _improper(match: re.Match[str]) -> str:
    """3 1/2 as 7/2; two numbers such as 24 6/3 as they are."""
    whole, above, below = (int(part.replace(",", "")) for part in match.groups())
    return f"{whole * below + above}/{below}" if above < below else match[0]


def _raised(match: re.Match[str]) -> str:
    """A power of ten by its exponent, and another one by its value; none where that isn't whole."""
    base, power = match[1].replace(",", ""), int((match[2] or match[3]).replace("−", "-"))
    if base == "10":
        return f"1e{power}"
    if power < 0 or "." in base or len(base) > 10:
        return _NONE
    return str(int(base) ** power)


def _magnified(text: str) -> str:
    """`2.5 million` as 2500000."""
    names = "|".join(_MAGNITUDES)
    number = rf"(?<![\w.,/{_NONE}])({DIGITS})[ \u00a0-]?({names})s?\b"
    text = re.sub(number, lambda match: f"{Decimal(match[1].replace(',', '')).scaleb(_MAGNITUDES[match[2]]):f}", text)
    return re.sub(rf"[\d.,/]*\d[ \u00a0-]?(?:{names})s?\b", _NONE, text)


def _spelt(match: re.Match[str]) -> str:
    minus = "-" if (match["sign"] in ("-", "−")) != (match["inner"] in ("-", "−")) else ""
    digits = match["digits"].replace(",", "")
    if match["below"]:
        ratio = Fraction(digits) / Fraction(match["below"].replace(",", ""))
        return f"{minus}{ratio.numerator}/{ratio.denominator}" if ratio.denominator > 1 else f"{minus}{ratio.numerator}"
    value = f"{Decimal(digits):f}"
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    whole, point, decimals = value.partition(".")
    value = (whole.lstrip("0") or "0") + point + decimals
    return minus * bool(Decimal(digits)) + value
