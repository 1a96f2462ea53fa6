"""Files that appear whole or not at all: written beside their final names, synced, then renamed into place."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.formats.source import file_stamp
from quantize_cli.formats.unfinished import create, new_directory, unfinished_name

EXISTS = "already exists"
_KINDS = {
    stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}  # fmt: skip


@dataclass(frozen=True)
class OverwriteGuard:
    """The files that an output must not replace."""

    force: bool = True
    """Whether it may replace a regular file."""
    inputs: frozenset[tuple[int, int]] = frozenset()
    """Device and number of the files that are read. They are never replaced."""
    own: tuple[int, int] | None = None
    """A file that the same run has written, which may be replaced even without force."""

    def reason_against(self, path: Path) -> str | None:
        """Why the file at `path` must not be replaced, or None; OSError where that cannot be seen."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            return "is a directory"
        with suppress(OSError):  # a link that leads nowhere leads to no input
            if file_stamp(path).file in self.inputs:
                return "is an input itself"
        if not stat.S_ISREG(status.st_mode):
            return f"is a {_KINDS.get(stat.S_IFMT(status.st_mode), 'special file')}, not a regular file"
        return None if self.force or (status.st_dev, status.st_ino) == self.own else EXISTS


MAY_OVERWRITE = OverwriteGuard()
"""Any regular file is replaced."""


class Output:
    """A file of known size under construction; `write` may be called from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def file(self) -> tuple[int, int]:
        """Device and number, which stay when it is renamed into place."""
        return file_stamp(self._descriptor).file

    def write(self, data: bytes | np.ndarray, offset: int) -> None:
        """Put `data` at `offset`; OSError when the disk does not take all of it."""
        left = memoryview(data).cast("B") if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).data
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written

    def resize(self, nbytes: int) -> None:
        os.truncate(self._descriptor, nbytes)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


@contextmanager
def atomic_file(path: Path, nbytes: int, guard: OverwriteGuard = MAY_OVERWRITE) -> Iterator[Output]:
    """An Output of `nbytes` zeros that becomes `path` when the block ends well; see `atomic_files`."""
    with atomic_files({path: nbytes}, guard) as outputs:
        yield outputs[path]


@contextmanager
def atomic_files(sizes: Mapping[Path, int], guard: OverwriteGuard = MAY_OVERWRITE) -> Iterator[dict[Path, Output]]:
    """Outputs of these sizes, filled with zeros, that become files when the block ends well: all of them, or none.

    When the block raises, or a signal ends the process, they are removed. FileExistsError when the guard then forbids
    one of the paths.
    """
    # The names exist before the files, so that a signal at any point removes the files.
    unfinished = {path: unfinished_name(path) for path in sizes}
    outputs: dict[Path, Output] = {}
    try:
        for path, nbytes in sizes.items():
            outputs[path] = Output(create(unfinished[path]))
            outputs[path].resize(nbytes)
        yield outputs
        for output in outputs.values():
            output.sync()
        _rename(unfinished, guard)
    except BaseException:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
        raise
    finally:
        for output in outputs.values():
            output.close()


@contextmanager
def staging_directory(paths: Iterable[Path], guard: OverwriteGuard = MAY_OVERWRITE) -> Iterator[dict[Path, Path]]:
    """By path, where to write the file meanwhile: in a new directory beside it, under its own name.

    There the files can be read, measured and changed. They are renamed into place when the block ends well. When it
    raises, the directory is removed, and `paths` are as they were.
    """
    targets = list(paths)
    with new_directory(targets[0]) as directory:
        unfinished = {path: directory / path.name for path in targets}
        yield unfinished
        _rename(unfinished, guard)


def patch(path: Path, data: bytes, offset: int) -> None:
    """Write over a part of a file, and have the disk keep it."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(unfinished: Mapping[Path, Path], guard: OverwriteGuard) -> None:
    """Rename finished files into place: all of them, or none if the guard forbids one."""
    for path in unfinished:
        if reason := guard.reason_against(path):
            raise FileExistsError(errno.EEXIST, reason, str(path))
    created = []
    try:
        for path, file in unfinished.items():
            if guard.force or (guard.own is not None and path.exists()):
                file.replace(path)
            else:
                _rename_to_new(file, path)
                created.append(path)
    except BaseException:
        for path in created:
            path.unlink(missing_ok=True)
        raise
    for directory in {path.parent for path in unfinished}:
        _sync_directory(directory)


def _rename_to_new(file: Path, path: Path) -> None:
    """Rename a file to a path that does not exist; FileExistsError where it exists meanwhile."""
    try:
        os.link(file, path, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
    except OSError:  # not every file system has links: there an empty file takes the name first
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            file.replace(path)
        except BaseException:
            path.unlink()
            raise
    else:
        file.unlink()


def _sync_directory(directory: Path) -> None:
    """Make the new name itself durable, where the system lets a directory be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
