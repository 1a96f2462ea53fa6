"""Limits of processor time and memory for work on hostile files, done in a process of its own."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

from quantize_cli.errors import InputError

_PATIENCE = 120
"""Seconds of waiting for a stalled process, or where the system cannot limit processor time."""
_PAGES_IN_USE = Path("/proc/self/statm")


def run_limited(statement: str, seconds: int, task: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a Python statement that begins with `limit_process(seconds, ...)` in another process, with `text` as input.

    InputError, which begins with `task`, when it takes too long; the caller looks at other exit codes.
    """
    # Modules come from where ours did, and not from the current directory, which may hold anything.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}; {statement}"]
    try:
        child = subprocess.run(command, input=text, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{task} takes more than {_PATIENCE} s") from None
    if child.returncode == -getattr(signal, "SIGXCPU", sys.maxsize):
        raise InputError(f"{task} takes more than {seconds} s of processor time")
    return child


def limit_process(seconds: int, nbytes: int) -> None:
    """Let the system end this process when it takes that much more processor time or memory from here on.

    The signal for the time is SIGXCPU. Where the system does not tell how much memory is in use, that counts too.
    """
    if sys.platform != "win32":
        import resource

        taken = int(_PAGES_IN_USE.read_text().split()[0]) * resource.getpagesize() if _PAGES_IN_USE.exists() else 0
        resource.setrlimit(resource.RLIMIT_AS, (taken + nbytes, taken + nbytes))
        until = math.ceil(time.process_time()) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, until + 1))
