"""How an input file is opened."""

import os
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from formats.errors import FormatError


def open_input(path: Path) -> BinaryIO:
    """The file, open for reading; FormatError when it cannot be, or is a directory, pipe or device.

    A pipe in a checkpoint would be waited on for ever, and a device may never end.
    """
    try:
        if S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except OSError as error:
        raise FormatError(f"{path}: {(error.strerror or 'cannot be opened').lower()}") from error
    raise FormatError(f"{path}: not a regular file")


def size_of(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size
