"""Whatever a command raises becomes one line and an exit code that is never 1."""

import signal
import subprocess
import sys

import pytest

from tests.cli.console import environment

FAULTS = {
    "raise ValueError('Odd\\nthing.')": (70, "error: internal error: ValueError: odd thing"),
    "raise EOFError": (70, "error: internal error: EOFError"),
    "raise RecursionError('deep')": (70, "error: internal error: RecursionError: deep"),
    "raise type('PanicException', (BaseException,), {})('x')": (70, "error: internal error: PanicException: x"),
    "raise OSError(28, 'No space left on device')": (
        70, "error: internal error: OSError: [Errno 28] No space left on device",
    ),
    "raise OSError(28, 'No space left on device', 'a')": (3, "error: a: no space left on device"),
    "raise BrokenPipeError(32, 'Broken pipe')": (70, "error: internal error: BrokenPipeError: [Errno 32] Broken pipe"),
    "raise MemoryError": (3, "error: not enough memory"),
    "bytearray(1 << 62)": (3, "error: not enough memory"),
    "import numpy; numpy.zeros(1 << 50)": (3, "error: not enough memory: unable to allocate "),
    "raise KeyboardInterrupt": (130, "error: interrupted"),
    "threading.Thread(target=lambda: 1 / 0).start(); time.sleep(30)": (
        70, "error: internal error: ZeroDivisionError: division by zero",
    ),
    "concurrent.futures.ThreadPoolExecutor(1).submit(lambda: 1 / 0).result()": (
        70, "error: internal error: ZeroDivisionError: division by zero",
    ),
    "import quantize_cli.absent": (70, "error: internal error: ModuleNotFoundError: no module named"),
}  # fmt: skip


def ended(fault: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`quantize plan x`, of which the command does this instead."""
    program = f"""
import concurrent.futures, sys, threading, time
from quantize_cli.cli import main, plan
def command(source: str) -> None:
    exec({fault!r}, globals())
plan.command = command
sys.argv[1:] = [*{options!r}, "plan", "x"]
main()
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**environment(), **variables},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line(fault: str) -> None:
    code, says = FAULTS[fault]
    done = ended(fault)
    first, *rest = done.stderr.splitlines()
    assert (done.returncode, done.stdout, first.startswith(says)) == (code, "", True), done.stderr
    hint = "hint: quantize --traceback COMMAND shows where; it is a fault of ours, report it"
    assert rest == ([hint] if code == 70 else [])


def test_the_traceback_is_there_for_the_asking() -> None:
    for done in (ended("1 / 0", "--traceback"), ended("1 / 0", QUANTIZE_TRACEBACK="1")):
        assert (done.returncode, done.stderr.count("Traceback")) == (70, 1)
        assert done.stderr.splitlines()[-1] == "error: internal error: ZeroDivisionError: division by zero"
