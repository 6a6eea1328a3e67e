"""What a GGUF file says of itself, checked against its length: readers believe numbers, and would count for ever.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Only versions 2 and 3 are in use.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from ia2.errors import InputError

FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each type that has a fixed length: the numbers and truth values."""
WHOLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
"""How `struct` calls the types of whole numbers."""
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4
"""Axes that a tensor of GGUF has at most."""


class _DamagedError(Exception):
    """What is wrong with a header, as the end of a sentence."""


def check_gguf_header(path: Path) -> None:
    """Refuse a file whose header promises more than the file holds, before anything believes it.

    Raises:
        InputError: it does, or is no header of GGUF; says what was found.
    """
    with path.open("rb") as file:
        try:
            _Header(file, path.stat().st_size).check()
        except _DamagedError as error:
            raise InputError(f"{path}: this GGUF file is damaged or cut short ({error}). Fetch it again.") from error


class _Header:
    """A header that is read from its beginning to its end; nothing is ever read beyond the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.order = file, size, "<"
        self.alignment = 32
        """Bytes that tensors begin at multiples of."""
        self.layers: dict[str, int] = {}
        """How many layers the metadata speaks of, by the key."""

    def check(self) -> None:
        """Read it all. Raises _DamagedError at what can't be."""
        if self._bytes(4) != b"GGUF":
            raise _DamagedError("it doesn't begin with GGUF")
        version = self._number("I")
        if version and version & 0xFFFF == 0:  # written on a machine of the other byte order
            self.order, version = ">", version >> 16 & 0xFF | version >> 24
        if version not in (2, 3):
            raise _DamagedError(f"its version is {version}, not 2 or 3")
        tensors, values = self._number("Q"), self._number("Q")
        self._check_room(values * 13, f"{values} values")
        for _ in range(values):
            self._value()
        self._check_room(tensors * 24, f"{tensors} tensors")
        if not tensors:
            raise _DamagedError("it holds no tensors")
        ends = [self._tensor() for _ in range(tensors)]
        begin = -(-self.file.tell() // self.alignment) * self.alignment
        if begin + max(ends) > self.size:
            raise _DamagedError(f"its tensors end at byte {begin + max(ends)} of {self.size}")
        for key, layers in self.layers.items():
            if layers > tensors:
                raise _DamagedError(f"{key} is {layers}, and there are {tensors} tensors")

    def _check_room(self, count: int, what: str) -> None:
        if count > (left := self.size - self.file.tell()):
            raise _DamagedError(f"{what} are to follow, and {left} bytes do")

    def _bytes(self, count: int) -> bytes:
        self._check_room(count, f"{count} bytes")
        return self.file.read(count)

    def _number(self, form: str) -> int:
        form = self.order + form
        (value,) = struct.unpack(form, self._bytes(struct.calcsize(form)))
        return int(value)

    def _text(self) -> str:
        try:
            return self._bytes(self._number("Q")).decode()
        except UnicodeDecodeError as error:
            raise _DamagedError("a name is no UTF-8 text") from error

    def _value(self) -> None:
        """A key and its value."""
        key, kind = self._text(), self._number("I")
        if kind not in WHOLE:
            self._skip(kind)
            return
        number = self._number(WHOLE[kind])
        if key == "general.alignment":
            if number < 1 or number & (number - 1):
                raise _DamagedError(f"its alignment is {number}, no power of two")
            self.alignment = number
        elif key.endswith(".block_count"):
            self.layers[key] = number

    def _skip(self, kind: int) -> None:
        """Go on behind a value of this type, or an array of them; arrays in arrays aren't in use."""
        count = 1
        if kind == ARRAY:
            kind, count = self._number("I"), self._number("Q")
        if kind == STRING:
            self._check_room(count * 8, f"{count} texts")
            for _ in range(count):
                self._bytes(self._number("Q"))
        elif kind in FIXED:
            self._check_room(count * FIXED[kind], f"{count} numbers")
            self.file.seek(count * FIXED[kind], 1)
        else:
            raise _DamagedError(f"a value is of the type {kind}, which isn't known")

    def _tensor(self) -> int:
        """Where a tensor ends, from where tensors begin."""
        name, axes = self._text(), self._number("I")
        if axes > MOST_DIMENSIONS:
            raise _DamagedError(f"the tensor {name} has {axes} axes")
        numbers = math.prod(self._number("Q") for _ in range(axes))
        kind, offset = self._number("I"), self._number("Q")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except ValueError as error:
            raise _DamagedError(f"the tensor {name} is of the type {kind}, which isn't known") from error
        return int(offset + numbers // block * size)
