"""The standard streams, made such that whatever the environment is, printing and reading text raises nothing strange.

Characters that an encoding lacks are spelled out, bytes that are no text are replaced, a stream that was closed takes
its number again so that no file gets it. What cannot be written to stderr is lost; what cannot be written to stdout,
which is data, is an OutputError.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

from quantize_cli.errors import OutputError


class ReaderGoneError(BaseException):
    """Whoever read our output has seen enough, as `| head` has."""


class _Data(io.TextIOWrapper):
    """Standard output."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _output_error(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _output_error(error) from error


class _Words(io.TextIOWrapper):
    """Standard error."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Replace Python's streams by ours."""
    sys.stdin = sys.stdin or _reopened(0, os.O_RDONLY, "r")
    # Nothing can be written to what is open for reading: whatever is printed fails, as it should.
    sys.stdout = sys.stdout or _reopened(1, os.O_RDONLY, "w")
    sys.stderr = sys.stderr or _reopened(2, os.O_WRONLY, "w")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    sys.stdout, sys.stderr = _wrapped(sys.stdout, _Data), _wrapped(sys.stderr, _Words)


def printable(text: str) -> str:
    """Text from a file with what a terminal would obey or hide escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _discard_output() -> None:
    """Discard what is still to be printed, which Python would otherwise report at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrapped(stream: TextIO, kind: type[io.TextIOWrapper]) -> TextIO:
    """The same stream as one of ours; unchanged if it is not a stream of the system."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, line_buffering, write_through = stream.encoding, stream.line_buffering, stream.write_through
    return kind(
        stream.detach(), encoding, errors="backslashreplace", line_buffering=line_buffering, write_through=write_through
    )


def _reopened(number: int, flags: int, mode: str) -> TextIO:
    """A stream for one that was closed, of the same number unless something else has it."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    else:
        number = os.open(os.devnull, flags)
    return cast(TextIO, open(number, mode, encoding="utf-8"))  # noqa: PTH123 - open as long as the process


def _output_error(error: OSError) -> BaseException:
    _discard_output()
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError()
    reason = "is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
    return OutputError(f"standard output: {reason}")
