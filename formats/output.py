"""A file that appears whole or not at all: written beside its final name, synced, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class Output:
    """A file of known size under construction; `write` may be called from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | np.ndarray, offset: int) -> None:
        """Put `data` at `offset`; OSError when the disk does not take all of it."""
        left = memoryview(data).cast("B") if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).data
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written


@contextmanager
def replacing(path: Path, nbytes: int) -> Iterator[Output]:
    """An Output of `nbytes` zeros that becomes `path` when the block ends well.

    When the block raises, or the process is told to stop, the unfinished file is removed and `path` is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.truncate(descriptor, nbytes)
        yield Output(descriptor)
        os.fsync(descriptor)
        unfinished.replace(path)
        _sync_directory(path.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def staged(paths: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Where to make several files of one directory, under their own names, that appear when the block ends well.

    A directory beside them, so that they can be read, measured and changed before they are there. When the block
    raises it is removed with all that is in it, and `paths` are as they were.
    """
    wanted = list(paths)
    unfinished = wanted[0].with_name(f".{wanted[0].name}.{secrets.token_hex(4)}.unfinished")
    unfinished.mkdir()
    try:
        places = {path: unfinished / path.name for path in wanted}
        yield places
        for path, place in places.items():
            place.replace(path)
        _sync_directory(unfinished.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def patch(path: Path, data: bytes, offset: int) -> None:
    """Write over a part of a file, and have the disk keep it."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Make the new name itself durable, where the system lets a directory be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
