"""A program: operations in order, each done by all threads before the next begins."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numba import types

from quantize_cli.kernel import kernel, merged
from quantize_cli.operation import Operation, add_to, call, look_at, place_of, words

_PATIENCE = 2000
"""Looks before a waiting thread gives way: some microseconds, which most waits are shorter than."""
_ALL_ARRIVED = 1 << 60
_give_way = types.ExternalFunction("sched_yield" if os.name == "posix" else "SwitchToThread", types.int32())


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Program:
    """Operations and, between them, functions of Python; recorded once, run as often as wanted."""

    def __init__(self) -> None:
        self._steps: list[np.ndarray | Callable[[], None]] = []
        self._open: list[tuple[int, int]] = []
        self._kept: list[Any] = []

    def add(self, operation: Operation, *arguments: np.ndarray | float) -> None:
        """Append an operation on these arrays and numbers; the arrays are kept alive."""
        packed = words(*arguments)
        self._kept += [packed, arguments]
        self._open.append((operation.address, packed.ctypes.data))

    def call(self, function: Callable[[], None]) -> None:
        """Append a function of Python, called by one thread while the others rest."""
        self._close()
        self._steps.append(function)

    def run(self, pool: "Threads") -> None:
        """Do all of it."""
        self._close()
        for step in self._steps:
            if isinstance(step, np.ndarray):
                pool.run(step)
            else:
                step()

    def _close(self) -> None:
        if self._open:
            self._steps.append(np.array(self._open, np.int64))
            self._open = []


class Threads:
    """The threads that run programs, each on a processor of its own if there are as many."""

    def __init__(self, count: int) -> None:
        self.count = count
        places = _places()
        self._free = places if count == len(places) else []
        self._pool = ThreadPoolExecutor(count, "quantize-run", self._settle)
        self._arrivals = np.zeros(1, np.int64)

    def run(self, table: np.ndarray) -> None:
        """Run operations (n, 2) int64 of addresses of code and of words; interrupted, it leaves them as they were."""
        self._arrivals[0] = 0
        started: list[Future[None]] = []
        try:
            for thread in range(self.count):
                started.append(self._pool.submit(_run, table, self._arrivals.ctypes.data, thread, self.count))
            wait(started)
        except BaseException:
            self._arrivals[0] = _ALL_ARRIVED
            wait(started)
            _put_back_claims(table)
            raise

    def _settle(self) -> None:
        """Bind a new thread to a processor: two that give way to each other on one are not moved apart by Linux."""
        if self._free:
            os.sched_setaffinity(0, {self._free.pop()})


def _places() -> list[int]:
    """The processors this process may use, where threads can be bound to them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


@merged
def _wait(place, arrivals):
    """Look until all have arrived; before long, let others have the processor between looks."""
    looks = 0
    while look_at(place) < arrivals:
        looks += 1
        if looks > _PATIENCE:
            _give_way()


@kernel
def _put_back_claims(table):
    for step in range(table.shape[0]):
        place_of(table[step, 1])[0] = 0


@kernel
def _run(table, arrivals, thread, threads):
    """One thread's part. The last of its kind to arrive lets all go on; claims are put back for the next run."""
    place = place_of(arrivals)
    for step in range(table.shape[0]):
        call(table[step, 0], table[step, 1], thread, threads)
        if threads > 1:
            add_to(place, 1)
            _wait(place, threads * (step + 1))
        if thread == 0:
            place_of(table[step, 1])[0] = 0
