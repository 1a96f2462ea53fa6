"""Where the threads that run a program wait for each other, without Python: one thread leads, the others help.

A barrier is int64 numbers in memory. Numbers that different threads write stand on lines of 64 bytes apart. They are:
how many programs were offered, the table and the number of steps of the latest, and whether it is abandoned; how many
arrivals there were at the ends of steps; how many times a helper finished a program.

A table (steps, 3) int64 holds for each step the addresses of its operation and of its words, and its barrier number:
0 if no thread waits at its end, else 1, 2, ... in order. All threads wait at the end of the last step.
"""

import os

import numpy as np
from numba import types

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.operation import call, fetch_add, int64_at, load_acquire

_OFFERED, _TABLE, _STEPS, _ABANDONED, _ARRIVED, _DONE, _SIZE = 0, 8, 16, 24, 64, 128, 24
_PATIENCE = 2000
"""Looks before a waiting thread gives way: some microseconds, which most waits are shorter than."""
_IDLE_LOOKS = 5000
"""Looks for a next program before a helper rests: a millisecond or two, in which a token is chosen and printed."""
_give_way = types.ExternalFunction("sched_yield" if os.name == "posix" else "SwitchToThread", types.int32())


def new_barrier() -> np.ndarray:
    """A barrier at which no program was offered."""
    return np.zeros(_SIZE, np.int64)


@kernel
def publish(state, table, steps):
    """Offer a program to the helpers, all of whom are done with the one before."""
    int64_at(state + _TABLE)[0], int64_at(state + _STEPS)[0] = table, steps
    int64_at(state + _ABANDONED)[0] = int64_at(state + _ARRIVED)[0] = 0
    fetch_add(int64_at(state + _OFFERED), 1)


@kernel
def has_work(state, finished):
    """Whether more programs are offered than these."""
    return load_acquire(int64_at(state + _OFFERED)) > finished


@kernel
def abort(state):
    """Have the helpers leave the program at the next step."""
    fetch_add(int64_at(state + _ABANDONED), 1)


@kernel
def is_done(state, threads):
    """Whether the helpers are done with all that was offered; looked for a little while."""
    looks, finished = 0, load_acquire(int64_at(state + _OFFERED)) * (threads - 1)
    while looks < _PATIENCE and load_acquire(int64_at(state + _DONE)) < finished:
        looks += 1
    return looks < _PATIENCE


@kernel
def lead(state, table, start, stop, threads):
    """The leading thread's part of the steps from start to stop; it puts back claims, for the next run."""
    for step in range(start, stop):
        if _do_step(state, table, step, 0, threads):
            _put_back_claims(table, step)


@kernel
def join_work(state, thread, threads, finished):
    """A helper's part of programs as they are offered, until none has been for a while; gives how many it finished."""
    looks = 0
    while looks < _IDLE_LOOKS:
        if load_acquire(int64_at(state + _OFFERED)) > finished:
            table = int64_at(state + _TABLE)[0]
            for step in range(int64_at(state + _STEPS)[0]):
                if load_acquire(int64_at(state + _ABANDONED)):
                    break
                _do_step(state, table, step, thread, threads)
            finished += 1
            fetch_add(int64_at(state + _DONE), 1)
            looks = 0
        looks += 1
        if looks > _PATIENCE:
            _give_way()
    return finished


@kernel
def release_claims(table, steps):
    """Leave a program that no thread is in as it was before."""
    for step in range(steps):
        int64_at(_word(table, step, 1))[0] = 0


@merged
def _word(table, step, column):
    return int64_at(table)[3 * step + column]


@merged
def _do_step(state, table, step, thread, threads):
    """Do a step, and wait for the others at its end if it has a barrier number; gives whether it has."""
    call(_word(table, step, 0), _word(table, step, 1), thread, threads)
    barrier_number = _word(table, step, 2)
    if barrier_number and threads > 1:
        fetch_add(int64_at(state + _ARRIVED), 1)
        _wait(state, threads * barrier_number)
    return barrier_number != 0


@merged
def _wait(state, arrivals):
    """Look until all have arrived or the program is abandoned; before long, let others have the processor."""
    looks = 0
    while load_acquire(int64_at(state + _ARRIVED)) < arrivals:
        looks += 1
        if looks > _PATIENCE:
            if load_acquire(int64_at(state + _ABANDONED)):
                break
            _give_way()


@merged
def _put_back_claims(table, step):
    """Put back those of the steps that all threads have left, as all have arrived at the end of this one."""
    int64_at(_word(table, step, 1))[0] = 0
    while step and _word(table, step - 1, 2) == 0:
        step -= 1
        int64_at(_word(table, step, 1))[0] = 0
