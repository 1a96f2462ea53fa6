"""How a command ends: signals, and whatever was raised, as one line, a hint and an exit code."""

import _thread
import os
import signal
import sys
import threading
import traceback
from typing import Any

import typer

from quantize_cli.cli.terminal.streams import ReaderGoneError, printable
from quantize_cli.errors import ExitCode, QuantizeError
from quantize_cli.formats.errors import FormatError

_WORDS = {"SIGHUP": "hung up", "SIGQUIT": "quit", "SIGTERM": "terminated"}
_BadUsage: Any = typer.BadParameter.__mro__[1]
"""click's UsageError, by way of typer, which may carry a click of its own."""
_fallen: list[BaseException] = []
"""The error that ended a thread of ours."""


class Raised(BaseException):
    """Carries an error of a command past typer, which would change it."""


class _Stopped(BaseException):
    """The process was told to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def listen() -> None:
    """Leave as Ctrl-C does at every signal that ends a process, so that unfinished files are removed.

    A signal that is ignored stays ignored, as nohup needs. An error in a thread ends the command.
    """
    for name in _WORDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    threading.excepthook = _fell


def status_of(error: BaseException, wants_traceback: bool = False) -> int:
    """Say what ended a command, and give its exit code."""
    if isinstance(error, Raised) and error.__cause__ is not None:
        error = error.__cause__
    if _fallen and isinstance(error, KeyboardInterrupt | typer.Abort):
        error = _fallen[0]
    return _tell(error, wants_traceback)


def report_uncached_kernels() -> None:
    """Whether kernels had to be compiled that could not be kept."""
    kept = sys.modules.get("quantize_cli.jit.kernel_cache")
    if kept is not None and (reason := kept.uncached_reason()):
        sys.stderr.write(f"warning: compiled kernels are not kept for next time: {printable(reason)}\n")


def _stop(number: int, frame: object) -> None:
    """A second signal must not stop what the first began."""
    for name in _WORDS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise _Stopped(number)


def _fell(fallen: threading.ExceptHookArgs) -> None:
    if fallen.exc_value is not None and not _fallen:
        _fallen.append(fallen.exc_value)
        _thread.interrupt_main()


def _tell(error: BaseException, wants_traceback: bool) -> int:
    match error:
        case QuantizeError():
            return _say(str(error), error.hint, error.exit_code)
        case FormatError():
            return _say(str(error), error.hint, ExitCode.INPUT)
        case _BadUsage():
            where = error.ctx.command_path if error.ctx else "quantize"
            return _say(_sentence(error.format_message()), f"{where} --help", ExitCode.USAGE)
        case ReaderGoneError():
            return ExitCode.DONE
        case KeyboardInterrupt() | typer.Abort():
            return _say("interrupted", None, ExitCode.INTERRUPTED)
        case _Stopped():
            return _say(_WORDS[signal.Signals(error.number).name], None, 128 + error.number)
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case OSError() if error.filename is not None and error.strerror:
            return _say(f"{os.fsdecode(error.filename)}: {error.strerror.lower()}", None, ExitCode.INPUT)
        case FileNotFoundError() if error.filename is None and _is_nowhere():
            return _say("the current directory is gone", None, ExitCode.INPUT)
        case MemoryError():
            return _say(f"not enough memory{_more(error)}", None, ExitCode.INPUT)
    if wants_traceback:
        sys.stderr.write("".join(traceback.format_exception(error)))
    hint = None if wants_traceback else "quantize --traceback COMMAND shows where; it is a fault of ours, report it"
    return _say(f"internal error: {type(error).__name__}{_more(error)}", hint, ExitCode.INTERNAL)


def _is_nowhere() -> bool:
    """Whether the current directory was removed."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd does the same
    except OSError:
        return True
    return False


def _more(error: BaseException) -> str:
    """The error's own message, as the end of a line."""
    message = _sentence(f"{error}")
    return f": {message}" if message else ""


def _say(message: str, hint: str | None, code: int) -> int:
    sys.stderr.write(f"error: {printable(message)}\n" + (f"hint: {printable(hint)}\n" if hint else ""))
    return code


def _sentence(message: str) -> str:
    """A message of another library in our style: one line, lower case, no full stop."""
    line = " ".join(message.split()).removesuffix(".")
    return line[:1].lower() + line[1:]
