"""Reads the fields of a binary file in order, and compares every length with the file before it is used."""

import struct
from pathlib import Path
from typing import BinaryIO

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.source import size_of


class BoundedReader:
    """Takes fields from an open file; `what` names each in a FormatError, which gives `hint` too."""

    def __init__(self, path: Path, file: BinaryIO, hint: str | None = None) -> None:
        self._path, self._file, self._hint = path, file, hint
        self.size = size_of(file)

    @property
    def position(self) -> int:
        return self._file.tell()

    def require(self, nbytes: int, what: str) -> None:
        """FormatError when fewer than `nbytes` are left."""
        at = self.position
        if not 0 <= nbytes <= self.size - at:
            raise FormatError(
                f"{self._path}: {what} of {nbytes} bytes at byte {at}, the file ends at {self.size}", self._hint
            )

    def take(self, nbytes: int, what: str) -> bytes:
        self.require(nbytes, what)
        return self._file.read(nbytes)

    def integer(self, letter: str, what: str) -> int:
        """A little-endian number of the type that `struct` calls `letter`."""
        number: int = struct.unpack(f"<{letter}", self.take(struct.calcsize(letter), what))[0]
        return number

    def text(self, nbytes: int, what: str) -> str:
        """UTF-8 of `nbytes` bytes."""
        try:
            return self.take(nbytes, what).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._path}: {what} is not UTF-8 at its byte {error.start}") from error
