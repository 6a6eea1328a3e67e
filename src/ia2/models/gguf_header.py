"""Check of a GGUF file's header against the file's length, because readers trust its counts and would loop forever.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Only versions 2 and 3 are in use.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from ia2.errors import InputError

FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each fixed-length type (numbers and booleans)."""
WHOLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
"""Format characters of `struct` for the integer types."""
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4
"""Maximum number of dimensions of a GGUF tensor."""


class _DamagedError(Exception):
    """The defect of a header, as the end of a sentence."""


def check_gguf_header(path: Path) -> None:
    """Refuse a file whose header claims more data than the file holds, before a reader trusts it.

    Raises:
        InputError: the header is invalid, or the file too short for it; the error says what was found.
    """
    with path.open("rb") as file:
        try:
            _Header(file, path.stat().st_size).check()
        except _DamagedError as error:
            raise InputError(f"{path}: this GGUF file is damaged or cut short ({error}). Fetch it again.") from error


class _Header:
    """Sequential reader of a header, which never reads past the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.order = file, size, "<"
        self.alignment = 32
        """Alignment of tensor offsets in bytes."""
        self.layers: dict[str, int] = {}
        """Number of layers that the metadata states, by key."""

    def check(self) -> None:
        """Read and check the whole header. Raises _DamagedError."""
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
        data_start = -(-self.file.tell() // self.alignment) * self.alignment
        if data_start + max(ends) > self.size:
            raise _DamagedError(f"its tensors end at byte {data_start + max(ends)} of {self.size}")
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
        """Read a key and its value, keeping the alignment and numbers of layers."""
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
        """Skip a value of this type, or an array of them; nested arrays aren't in use."""
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
        """Read a tensor's description; return the byte offset of its end, relative to the start of the tensor data."""
        name, axes = self._text(), self._number("I")
        if axes > MOST_DIMENSIONS:
            raise _DamagedError(f"the tensor {name} has {axes} axes")
        size_in_values = math.prod(self._number("Q") for _ in range(axes))
        kind, offset = self._number("I"), self._number("Q")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except ValueError as error:
            raise _DamagedError(f"the tensor {name} is of the type {kind}, which isn't known") from error
        return int(offset + size_in_values // block * size)
