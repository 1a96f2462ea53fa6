"""Opens input files, and detects files that changed while they were read."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

import numpy as np

from quantize_cli.formats.errors import FormatError


class FileStamp(NamedTuple):
    """Properties that change when a file is rewritten or replaced."""

    device: int
    number: int
    nbytes: int
    modified_ns: int

    @property
    def file(self) -> tuple[int, int]:
        """Device and number, which stay when the file is rewritten."""
        return self.device, self.number


FileStamps = Mapping[Path, FileStamp]
"""Files as they were when they were opened."""

_MOST_OPEN = 64
"""Files that are kept open to be read from."""

_recorded: ContextVar[tuple[dict[Path, FileStamp], ...]] = ContextVar("recorded", default=())


def open_input(path: Path) -> BinaryIO:
    """The file, open for reading; FormatError when it cannot be, or is a directory, pipe or device.

    Opening a pipe could wait for ever, and a device may never end.
    """
    try:
        if S_ISREG(path.stat().st_mode):
            file = path.open("rb")
            for record in _recorded.get():
                record.setdefault(path, file_stamp(file.fileno()))
            return file
    except OSError as error:
        raise FormatError(f"{path}: {(error.strerror or 'cannot be opened').lower()}") from error
    raise FormatError(f"{path}: not a regular file")


def size_of(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size


def read_at_most(path: Path, most: int) -> bytes:
    """The whole file; FormatError when it has more bytes."""
    with open_input(path) as file:
        if size_of(file) > most:
            raise FormatError(f"{path}: {size_of(file)} bytes, at most {most} are read")
        return file.read()


def file_stamp(file: Path | int) -> FileStamp:
    """Of a path, or of an open descriptor; OSError where there is none."""
    status = file.stat() if isinstance(file, Path) else os.fstat(file)
    return FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def read_into(path: Path, offset: int, memory: np.ndarray) -> int:
    """Fill memory (nbytes,) u8 from a file; returns how many bytes there were. May be called from several threads.

    OSError when the file cannot be read. Each process opens a file once, and again when it has changed.
    """
    status = path.stat()
    file = _opened(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    left, nbytes = memory.data, 0
    while left and (count := os.preadv(file.descriptor, [left], offset + nbytes)):
        left, nbytes = left[count:], nbytes + count
    return nbytes


def read_segments_into(path: Path, offset: int, stride: int, memory: np.ndarray) -> int:
    """Fill each row of memory (n, nbytes) u8 from a file, the first at `offset`, each `stride` bytes after the last.

    Returns how many bytes there were before the file ended. Else as `read_into`.
    """
    status = path.stat()
    file = _opened(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    total = 0
    for number, row in enumerate(memory):
        nbytes = os.preadv(file.descriptor, [row.data], offset + number * stride)
        total += nbytes
        if nbytes != len(row):
            break
    return total


class _Descriptor:
    """An open file, closed when nothing refers to this any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(maxsize=_MOST_OPEN)
def _opened(path: Path, *identity: int) -> _Descriptor:
    """The open file; `identity` keeps it apart from another file that gets the same path."""
    return _Descriptor(path)


@contextmanager
def record_opened_files() -> Iterator[FileStamps]:
    """The files that are opened in the block, as they are when they are first opened."""
    record: dict[Path, FileStamp] = {}
    before = _recorded.set((*_recorded.get(), record))
    try:
        yield record
    finally:
        _recorded.reset(before)


def refuse_changed(files: FileStamps) -> None:
    """FormatError for a file that has changed since, as a result may mix two versions."""
    for path, before in files.items():
        try:
            now = file_stamp(path)
        except OSError as error:
            raise FormatError(f"{path}: went away while it was read") from error
        if now != before:
            what = _difference(before, now)
            raise FormatError(f"{path}: {what} while it was read", hint="try again once it is whole")


def _difference(before: FileStamp, now: FileStamp) -> str:
    if now.file != before.file:
        return "was replaced by another file"
    if now.nbytes != before.nbytes:
        return f"went from {before.nbytes} to {now.nbytes} bytes"
    return "was written to"
