"""Opens input files, and detects files that changed while they were read."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

from quantize_cli.formats.errors import FormatError


class Identity(NamedTuple):
    """Properties that change when a file is rewritten or replaced."""

    device: int
    number: int
    nbytes: int
    modified_ns: int

    @property
    def place(self) -> tuple[int, int]:
        """The properties that stay when it is rewritten."""
        return self.device, self.number


Identities = Mapping[Path, Identity]
"""Files as they were when they were opened."""

_recorded: ContextVar[tuple[dict[Path, Identity], ...]] = ContextVar("recorded", default=())


def open_input(path: Path) -> BinaryIO:
    """The file, open for reading; FormatError when it cannot be, or is a directory, pipe or device.

    A pipe in a checkpoint would be waited on for ever, and a device may never end.
    """
    try:
        if S_ISREG(path.stat().st_mode):
            file = path.open("rb")
            for record in _recorded.get():
                record.setdefault(path, identity_of(file.fileno()))
            return file
    except OSError as error:
        raise FormatError(f"{path}: {(error.strerror or 'cannot be opened').lower()}") from error
    raise FormatError(f"{path}: not a regular file")


def size_of(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size


def identity_of(place: Path | int) -> Identity:
    """Of a path, or of an open descriptor; OSError where there is none."""
    status = place.stat() if isinstance(place, Path) else os.fstat(place)
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def recording() -> Iterator[Identities]:
    """The files that are opened in the block, as they are when they are first opened."""
    record: dict[Path, Identity] = {}
    before = _recorded.set((*_recorded.get(), record))
    try:
        yield record
    finally:
        _recorded.reset(before)


def refuse_changed(files: Identities) -> None:
    """FormatError for a file that has changed since, as a result may mix two versions."""
    for path, before in files.items():
        try:
            now = identity_of(path)
        except OSError as error:
            raise FormatError(f"{path}: went away while it was read") from error
        if now != before:
            what = _difference(before, now)
            raise FormatError(f"{path}: {what} while it was read", hint="try again once it is whole")


def _difference(before: Identity, now: Identity) -> str:
    if now.place != before.place:
        return "was replaced by another file"
    if now.nbytes != before.nbytes:
        return f"went from {before.nbytes} to {now.nbytes} bytes"
    return "was written to"
