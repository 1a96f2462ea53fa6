"""A file that appears whole or not at all: written beside its final name, synced, then renamed."""

import os
import secrets
from collections.abc import Iterator
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


def _sync_directory(directory: Path) -> None:
    """Make the new name itself durable, where the system lets a directory be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
