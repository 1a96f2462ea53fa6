"""Errors a person can act on, each with the exit code a script can branch on."""

from enum import IntEnum

FORCE_HINT = "--force replaces it"
IMPORTANCE_HINT = "--imatrix FILE, made by quantize calibrate from the float model and a text"


class ExitCode(IntEnum):
    """What the process's exit status means."""

    DONE = 0
    ANSWER_IS_NO = 1
    """It worked, and the answer is no: a quality gate failed."""
    USAGE = 2
    """The command line makes no sense."""
    INPUT = 3
    """An input is missing, corrupt or unsupported."""
    OUTPUT = 4
    """The output cannot be written."""
    INTERNAL = 70
    """A fault of ours."""
    HUNG_UP = 129
    """The terminal went away."""
    INTERRUPTED = 130
    QUIT = 131
    """Told to stop by SIGQUIT."""
    TERMINATED = 143
    """Told to stop by SIGTERM."""


class QuantizeError(Exception):
    """The base of every error we raise on purpose: one line, an exit code, and perhaps a hint."""

    exit_code = ExitCode.INPUT

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(QuantizeError):
    """The command line makes no sense."""

    exit_code = ExitCode.USAGE


class InputError(QuantizeError):
    """An input is missing, corrupt or unsupported."""

    exit_code = ExitCode.INPUT


class OutputError(QuantizeError):
    """The output cannot be written."""

    exit_code = ExitCode.OUTPUT


def not_written(path: object, error: OSError) -> OutputError:
    """What the system, or what is there already, has against writing `path`."""
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"{path}: {reason}", hint=FORCE_HINT if reason == "already exists" else None)
