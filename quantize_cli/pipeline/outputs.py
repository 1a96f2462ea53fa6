"""Where files may be written: checked before the work, and again when a file is renamed into place.

Never over a file it reads, nor into a checkpoint it reads, nor over what is no regular file; over a regular file only
with --force. A new .gguf beside a checkpoint's files is the exception: no checkpoint is read from such a file, and
there is where many keep it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from quantize_cli.errors import FORCE_HINT, OutputError, not_written
from quantize_cli.formats.output import EXISTS, OverwriteGuard, atomic_file
from quantize_cli.formats.source import file_stamp
from quantize_cli.formats.unfinished import remove_unfinished

_OF_A_CHECKPOINT = (".safetensors", ".json", ".model", ".jinja", ".md", ".txt", ".py")
_STREAM_HINT = "name a file: it is written beside its name and then given it, which a stream cannot be"


def write_file(path: Path, data: bytes, guard: OverwriteGuard) -> None:
    """Make a file of these bytes, or leave all as it was; OutputError where it cannot be."""
    try:
        with atomic_file(path, len(data), guard) as output:
            output.write(data, 0)
    except OSError as error:
        raise not_written(path, error) from error


class Outputs:
    """What a command reads, and so where it may not write."""

    def __init__(
        self,
        inputs: Iterable[Path | None],
        force: bool,
        note: Callable[[str], None] = lambda text: None,
        hint: str = FORCE_HINT,
    ) -> None:
        """`note` is told of what `sweep` removes."""
        self._inputs = [path for path in inputs if path is not None]
        self._hint, self._note = hint, note
        self.guard = OverwriteGuard(force, frozenset(_read(self._inputs)))

    def resuming(self, path: Path) -> "Outputs":
        """The same where the file at `path`, if there is one, was made by an earlier run and is gone on with."""
        if path.is_file() and not path.is_symlink():
            self.guard = replace(self.guard, own=file_stamp(path).file)
        return self

    def refuse_bad(self, paths: Sequence[Path | None]) -> None:
        """OutputError for the first of several files to be that may not be where it is to be."""
        seen = set()
        for path in filter(None, paths):
            _refuse_stream(path)
            self._refuse_what_is_there(path)
            self._refuse_part_of_source(path)
            resolved = path.parent.resolve(), path.name
            if resolved in seen:
                raise OutputError(f"{path}: is to be written twice")
            seen.add(resolved)

    def sweep(self, paths: Iterable[Path | None]) -> None:
        """Remove what runs that were killed left beside the files to be."""
        for directory in sorted({path.parent for path in paths if path is not None}):
            if removed := remove_unfinished(directory):
                count = "1 unfinished file" if len(removed) == 1 else f"{len(removed)} unfinished files"
                self._note(f"removed {count} that a killed run left in {directory}")

    def _refuse_what_is_there(self, path: Path) -> None:
        try:
            obstacle = self.guard.reason_against(path)
        except OSError as error:
            raise OutputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        if obstacle:
            raise OutputError(f"{path}: {obstacle}", hint=self._hint if obstacle == EXISTS else None)
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: directory {path.parent} cannot be written to")

    def _refuse_part_of_source(self, path: Path) -> None:
        if path.suffix == ".gguf":
            return
        parent = path.parent.resolve()
        for source in self._inputs:
            if source.is_dir() and parent.is_relative_to(source.resolve()):
                raise OutputError(f"{path}: is a part of the source", hint="name a place outside of it")


def _refuse_stream(path: Path) -> None:
    """Names that elsewhere stand for a stream, but for no file."""
    if str(path) == "-":
        raise OutputError("-: standard output takes no file", hint=_STREAM_HINT)
    if str(path) in ("/dev/stdout", "/dev/stderr") or str(path).startswith(("/dev/fd/", "/proc/self/fd/")):
        raise OutputError(f"{path}: is no regular file", hint=_STREAM_HINT)


def _read(inputs: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Device and number of every file that is read where these are named, as far as they are there."""
    for named in inputs:
        for path in _with_neighbours(named):
            try:
                yield file_stamp(path).file
            except OSError:  # what is missing is said by who opens it
                continue


def _with_neighbours(path: Path) -> Iterator[Path]:
    """What is named, and what is read because it lies in it or beside it."""
    yield path
    try:
        if path.is_dir():
            yield from (file for file in path.iterdir() if file.suffix != ".gguf" and not file.is_dir())
        elif path.suffix == ".safetensors":
            yield from (file for file in path.parent.iterdir() if file.suffix in _OF_A_CHECKPOINT)
        elif path.suffix == ".gguf" and "-of-" in path.name:
            stem, _, count = path.name.rpartition("-of-")
            yield from (file for file in path.parent.iterdir() if _is_part(file.name, stem[:-5], count))
    except OSError:
        return


def _is_part(name: str, stem: str, count: str) -> bool:
    return name.startswith(stem) and name.endswith(f"-of-{count}")
