"""Unfinished output files: their names, their locks, and the removal of those whose process was killed."""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

_LONGEST_STEM_NBYTES = 200
"""Of the final name: file systems take 255 bytes."""
_NAME = re.compile(r"\..+\.[0-9a-f]{8}\.unfinished", re.DOTALL)


def unfinished_name(path: Path) -> Path:
    """A new name beside `path`."""
    stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST_STEM_NBYTES])
    return path.with_name(f".{stem}.{secrets.token_hex(4)}.unfinished")


def create(unfinished: Path) -> int:
    """The descriptor of a new file, locked while it is open."""
    while True:
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _hold(descriptor)
        if os.fstat(descriptor).st_nlink:  # else it was swept before it was locked
            return descriptor
        os.close(descriptor)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A new unfinished directory beside `path`, locked in the block and removed after it with its content."""
    unfinished, descriptor = unfinished_name(path), None
    unfinished.mkdir()
    try:
        descriptor = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY)
        _hold(descriptor)
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _hold(descriptor: int) -> None:
    """Lock an open file while it is open; where a file system has no locks, unfinished files are never removed."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def remove_unfinished(directory: Path) -> list[Path]:
    """Remove the unfinished files of dead processes from a directory; returns their paths."""
    try:
        names = sorted(name for name in os.listdir(directory) if _NAME.fullmatch(name))  # noqa: PTH208
    except OSError:
        return []
    return [directory / name for name in names if _removed(directory / name)]


def _removed(path: Path) -> bool:
    """Remove it unless a process locks it, or the system does not let us see."""
    try:
        mode = path.lstat().st_mode
        if not S_ISREG(mode) and not S_ISDIR(mode):
            return False
        descriptor = os.open(path, (os.O_RDWR if S_ISREG(mode) else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(path.lstat(), os.fstat(descriptor)):
            return False
        shutil.rmtree(path) if S_ISDIR(mode) else path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
