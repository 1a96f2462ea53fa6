"""Limits that a process sets itself before work that may not end."""

import math
import sys
import time
from pathlib import Path

_PAGES_IN_USE = Path("/proc/self/statm")


def limit_process(seconds: int, nbytes: int) -> None:
    """Let the system end this process when it takes more than `seconds` of processor time, or `nbytes` more memory.

    A signal says which: SIGXCPU is for the time. Where the system has no such limits, the caller must not wait for
    ever; where it does not tell how much memory is in use, `nbytes` includes that.
    """
    if sys.platform != "win32":
        import resource

        taken = int(_PAGES_IN_USE.read_text().split()[0]) * resource.getpagesize() if _PAGES_IN_USE.exists() else 0
        resource.setrlimit(resource.RLIMIT_AS, (taken + nbytes, taken + nbytes))
        until = math.ceil(time.process_time()) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, until + 1))
