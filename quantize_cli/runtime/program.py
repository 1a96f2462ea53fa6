"""A program: operations in order, each done by all threads before the next begins."""

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread, current_thread
from typing import Any

import numpy as np

from quantize_cli.jit.operation import Operation
from quantize_cli.runtime import barrier

_GATHERING_SECONDS = 1e-4
_STRETCH = 16
"""Steps between which the leading thread looks whether it is interrupted: about a layer's."""


class Program:
    """Operations and, between them, functions of Python; recorded once, run many times."""

    def __init__(self) -> None:
        self._steps: list[np.ndarray | Callable[[], None]] = []
        self._open: list[tuple[int, int, int]] = []
        self._kept: list[Any] = []

    def add(self, operation: Operation, *, beside: bool = False, **arguments: np.ndarray | float) -> None:
        """Append an operation on these arrays and numbers; the arrays are kept alive.

        It may begin while the one before is being done if it is `beside` that: if neither writes what the other uses.
        """
        words = operation.arguments.words(arguments)
        self._kept += [words, arguments]
        barrier_number = self._open[-1][2] if self._open else 0
        if beside and self._open:
            self._open[-1] = (*self._open[-1][:2], 0)
        else:
            barrier_number += 1
        self._open.append((operation.address, words.ctypes.data, barrier_number))

    def call(self, function: Callable[[], None]) -> None:
        """Append a function of Python, called by one thread while the others rest."""
        self._close()
        self._steps.append(function)

    def run(self, threads: "Threads") -> None:
        self._close()
        for step in self._steps:
            if isinstance(step, np.ndarray):
                threads.run(step)
            else:
                step()

    def _close(self) -> None:
        if self._open:
            self._steps.append(np.array(self._open, np.int64))
            self._open = []


class Threads:
    """The threads that run programs: that which asks for it and helpers, each on a processor of its own if it can be.

    After a program helpers look for the next one for a millisecond or two, and rest if none comes: between two tokens
    none has to be woken. Only one thread may ask at a time.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        processors = _processors()
        self._processors = processors if count == len(processors) else []
        self._helpers: _Helpers | None = None

    def run(self, table: np.ndarray) -> None:
        """Do the steps of a table, see barrier.py; interrupted, it leaves what operations claim as it was."""
        if self._helpers is None:
            self._helpers = _Helpers(self.count, self._processors[1:])
            weakref.finalize(self, self._helpers.dismiss)
        address, steps = table.ctypes.data, len(table)
        with self._bound():
            try:
                self._helpers.offer(address, steps)
                for start in range(0, steps, _STRETCH):
                    barrier.lead(self._helpers.address, address, start, min(start + _STRETCH, steps), self.count)
            except BaseException:
                self._helpers.stop()
                barrier.release_claims(address, steps)
                raise

    @contextmanager
    def _bound(self) -> Iterator[None]:
        """Keep this thread where no helper is: of two that give way to each other on one processor Linux moves none."""
        if not self._processors:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._processors[:1])
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


class _Helpers:
    """The threads besides the leading one, and the barrier where they wait."""

    def __init__(self, threads: int, processors: list[int]) -> None:
        self._threads, self._numbers = threads, barrier.new_barrier()
        self.address = self._numbers.ctypes.data
        self._resting, self._dismissed, self._bell = 0, False, Condition()
        self._members = [
            Thread(target=self._help, args=(thread, processors[thread - 1 : thread]), name="quantize-run", daemon=True)
            for thread in range(1, threads)
        ]
        for member in self._members:
            member.start()

    def offer(self, table: int, steps: int) -> None:
        """Let all begin with a table of so many steps."""
        self._gather()
        barrier.publish(self.address, table, steps)
        self._wake()

    def stop(self) -> None:
        """Let all leave what they do, and wait until they have."""
        barrier.abort(self.address)
        self._wake()
        self._gather()

    def dismiss(self) -> None:
        self._dismissed = True
        self._wake()
        for member in self._members:
            if member is not current_thread():  # as may be where garbage is collected
                member.join()

    def _gather(self) -> None:
        while not barrier.is_done(self.address, self._threads):
            time.sleep(_GATHERING_SECONDS)

    def _wake(self) -> None:
        """Whoever goes to rest says so before looking at the barrier for the last time, so none is missed."""
        if self._resting:
            with self._bell:
                self._bell.notify_all()

    def _help(self, thread: int, processors: list[int]) -> None:
        if processors:
            os.sched_setaffinity(0, processors)
        finished = 0
        while not self._dismissed:
            finished = barrier.join_work(self.address, thread, self._threads, finished)
            with self._bell:
                self._resting += 1
                while not self._dismissed and not barrier.has_work(self.address, finished):
                    self._bell.wait()
                self._resting -= 1


def _processors() -> list[int]:
    """The processors this process may use, where threads can be bound to them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
