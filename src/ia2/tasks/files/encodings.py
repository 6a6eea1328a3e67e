"""Reading text files in the encodings that common programs write."""

from pathlib import Path

from ia2.errors import FieldError, InputError

BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    # before UTF-16, whose mark is a prefix of this one
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
MOSTLY = 0.8
"""Share of zeros in every other byte above which text is UTF-16: a Western letter has a zero as its high byte."""


def read_text(path: Path, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    r"""Return the text of a file, and a note if it is not UTF-8.

    Args:
        path: the file.
        encoding: its encoding, by Python's name; by default the first of UTF-8, UTF-16 and Windows-1252 that fits.

    Returns:
        The text without a byte order mark and with unchanged line ends, and the note, if any.

    Raises:
        FieldError: no encoding has that name.
        InputError: the file is not text in the named encoding, or in any of the three.

    Example:
        >>> _ = Path("rows.csv").write_bytes("text,label\ncafé,1\n".encode("cp1252"))
        >>> read_text(Path("rows.csv"))[0]
        'text,label\ncafé,1\n'
    """
    content = path.read_bytes()
    if encoding is not None:
        return _as_named(path, content, encoding), ()
    detected = detect_encoding(content)
    if detected is None and 0 in content:
        # an image or an archive: no encoding would help
        raise InputError(
            f"{path}: this is not text: it contains zero bytes. Export it as CSV from the program that made it."
        )
    if detected is None:
        raise InputError(
            f"{path}: this is not UTF-8, UTF-16 or Windows-1252 text. Name its encoding; latin-1 reads any bytes."
        )
    notes: tuple[str, ...] = ()
    if not detected.startswith("utf-8"):
        notes = (f"{path.name}: this is not UTF-8 text and is read as {detected}; name the encoding if that is wrong.",)
    return content.decode(detected).removeprefix("\ufeff"), notes


def detect_encoding(content: bytes) -> str | None:
    """Return the encoding of a text: that of its byte order mark, or UTF-8, UTF-16 or Windows-1252; None if none fits.

    Example:
        >>> [detect_encoding("café".encode(name)) for name in ("utf-8", "utf-16", "utf-16-le", "cp1252")]
        ['utf-8', 'utf-16', 'utf-16-le', 'cp1252']
    """
    marked = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if marked is not None:
        return marked if _decodes(content, marked) else None
    for name, zeros, letters in (
        ("utf-16-le", content[1::2], content[::2]),
        ("utf-16-be", content[::2], content[1::2]),
    ):
        if zeros.count(0) > MOSTLY * len(zeros) and 0 not in letters and _decodes(content, name):
            return name
    if _decodes(content, "utf-8"):
        return "utf-8"
    return "cp1252" if 0 not in content and _decodes(content, "cp1252") else None


def checked_encoding(encoding: str) -> str:
    """Return the name of an encoding if Python knows it as a text encoding.

    Raises:
        FieldError: Python doesn't know it.
    """
    try:
        # decoding an empty string would not look the encoding up; two bytes are valid UTF-16
        b"aa".decode(encoding)
    except UnicodeError:
        return encoding
    except (LookupError, ValueError) as error:
        raise FieldError(
            "encoding", encoding, "there is no such text encoding. Use one such as utf-8, utf-16 or cp1252."
        ) from error
    return encoding


def _as_named(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(checked_encoding(encoding)).removeprefix("\ufeff")
    except UnicodeError as error:
        detected = detect_encoding(content)
        hint = f"It looks like {detected}: leave the encoding out" if detected else "Name another one, such as latin-1"
        position = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise InputError(f"{path}: this is not {encoding} text{position}. {hint}.") from error


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
