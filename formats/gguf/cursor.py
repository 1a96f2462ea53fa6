"""The bytes of a file, taken in order and never past their end."""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.rules import MAX_STRING_NBYTES
from quantize_cli.formats.memory_limit import refuse_too_many

_LENGTH = struct.Struct("<Q")
_STRING_MEMORY_NBYTES = 160
"""A short string in Python, and what a tokenizer makes of it."""


class Cursor:
    """A position in a mapped file that moves forward. In each method `what` names the bytes, for messages."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.position = 0
        self._data = data
        self._string_count = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._data)

    @property
    def remaining(self) -> int:
        """Bytes from here to the end of the file."""
        return self.size - self.position

    def take(self, nbytes: int, what: str) -> bytes:
        """The next `nbytes` bytes."""
        if nbytes > self.remaining:
            raise self._short(what, nbytes, self.position)
        begin = self.position
        self.position += nbytes
        return self._data[begin : self.position]

    def number(self, letter: str, what: str) -> Any:
        """A number of the type that `struct` calls `letter`."""
        packed = struct.Struct("<" + letter)
        return packed.unpack(self.take(packed.size, what))[0]

    def numbers(self, letter: str, count: int, what: str) -> np.ndarray:
        """`count` numbers of one type, read-only. Nothing is allocated before the file is seen to hold their bytes."""
        dtype = np.dtype("<" + letter)
        return np.frombuffer(self.take(count * dtype.itemsize, what), dtype)

    def string(self, what: str) -> str:
        return self.strings(1, what)[0]

    def strings(self, count: int, what: str) -> list[str]:
        """`count` strings, each a length and UTF-8. One flat loop, as a vocabulary has half a million."""
        if count * _LENGTH.size > self.remaining:
            raise self._short(f"{what}, {count} strings,", count * _LENGTH.size, self.position)
        self._string_count += count
        refuse_too_many(f"{self.path}: ", self._string_count, "strings", _STRING_MEMORY_NBYTES, self.size)
        data, size, at = self._data, self.size, self.position
        texts = []
        for _ in range(count):
            begin = at + _LENGTH.size
            if begin > size:
                raise self._short(what, _LENGTH.size, at)
            nbytes = _LENGTH.unpack_from(data, at)[0]
            at = begin + nbytes
            if at > size:
                raise self._short(what, nbytes, begin)
            if nbytes > MAX_STRING_NBYTES:
                raise FormatError(
                    f"{self.path}: {what} has {nbytes} bytes at {begin}, at most {MAX_STRING_NBYTES} are allowed"
                )
            try:
                texts.append(str(data[begin:at], "utf-8"))
            except UnicodeDecodeError as error:
                raise FormatError(f"{self.path}: {what} is not utf-8 at byte {begin + error.start}") from error
        self.position = at
        return texts

    def _short(self, what: str, nbytes: int, at: int) -> FormatError:
        return FormatError(f"{self.path}: {what} needs {nbytes} bytes at {at}, {self.size - at} are left")
