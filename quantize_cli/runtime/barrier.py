"""Where threads that run programs meet, and what each does there without Python: one leads, the others help.

A desk is int64 numbers in memory, and lines of 64 bytes apart where different threads write: how many programs were
offered, the latest one's table and its number of steps, and whether it is abandoned; how often a thread arrived at the
end of a step; how often a helper was done with a program. A table (steps, 3) int64 holds, of each step, the addresses
of its operation and of its words, and, if all threads meet at its end before any goes on, the how many-th such meeting
it is, from 1 on, else 0. They meet at the end of the last.
"""

import os

import numpy as np
from numba import types

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.operation import add_to, call, look_at, place_of

_OFFERED, _TABLE, _STEPS, _ABANDONED, _ARRIVED, _DONE, _SIZE = 0, 8, 16, 24, 64, 128, 24
_PATIENCE = 2000
"""Looks before a waiting thread gives way: some microseconds, which most waits are shorter than."""
_IDLE_LOOKS = 5000
"""Looks for a next program before a helper rests: a millisecond or two, in which a token is chosen and spoken."""
_give_way = types.ExternalFunction("sched_yield" if os.name == "posix" else "SwitchToThread", types.int32())


def new_desk() -> np.ndarray:
    """A desk with nothing on it."""
    return np.zeros(_SIZE, np.int64)


@kernel
def offer(desk, table, steps):
    """Put a program on the desk for the helpers, all of whom are done with the one before."""
    place_of(desk + _TABLE)[0], place_of(desk + _STEPS)[0] = table, steps
    place_of(desk + _ABANDONED)[0] = place_of(desk + _ARRIVED)[0] = 0
    add_to(place_of(desk + _OFFERED), 1)


@kernel
def is_offered(desk, finished):
    """Whether more programs are offered than these."""
    return look_at(place_of(desk + _OFFERED)) > finished


@kernel
def abandon(desk):
    """Have the helpers leave the program at the next step."""
    add_to(place_of(desk + _ABANDONED), 1)


@kernel
def all_done(desk, threads):
    """Whether the helpers are done with all that was offered; looked for a little while."""
    looks, wanted = 0, look_at(place_of(desk + _OFFERED)) * (threads - 1)
    while looks < _PATIENCE and look_at(place_of(desk + _DONE)) < wanted:
        looks += 1
    return looks < _PATIENCE


@kernel
def lead(desk, table, start, stop, threads):
    """The leading thread's part of the steps from start to stop; it puts back claims, for the next run."""
    for step in range(start, stop):
        if _do_step(desk, table, step, 0, threads):
            _put_back_claims(table, step)


@kernel
def help_out(desk, thread, threads, finished):
    """A helper's part of programs as they are offered, until none has been for a while; gives how many it finished."""
    looks = 0
    while looks < _IDLE_LOOKS:
        if look_at(place_of(desk + _OFFERED)) > finished:
            table = place_of(desk + _TABLE)[0]
            for step in range(place_of(desk + _STEPS)[0]):
                if look_at(place_of(desk + _ABANDONED)):
                    break
                _do_step(desk, table, step, thread, threads)
            finished += 1
            add_to(place_of(desk + _DONE), 1)
            looks = 0
        looks += 1
        if looks > _PATIENCE:
            _give_way()
    return finished


@kernel
def put_back_all_claims(table, steps):
    """Leave a program that no thread is in as it was before."""
    for step in range(steps):
        place_of(_word(table, step, 1))[0] = 0


@merged
def _word(table, step, column):
    return place_of(table)[3 * step + column]


@merged
def _do_step(desk, table, step, thread, threads):
    """Do a step, and wait for the others at its end if that is where they meet; gives whether it is."""
    call(_word(table, step, 0), _word(table, step, 1), thread, threads)
    meetings = _word(table, step, 2)
    if meetings and threads > 1:
        add_to(place_of(desk + _ARRIVED), 1)
        _wait(desk, threads * meetings)
    return meetings != 0


@merged
def _wait(desk, arrivals):
    """Look until all have arrived or the program is abandoned; before long, let others have the processor."""
    looks = 0
    while look_at(place_of(desk + _ARRIVED)) < arrivals:
        looks += 1
        if looks > _PATIENCE:
            if look_at(place_of(desk + _ABANDONED)):
                break
            _give_way()


@merged
def _put_back_claims(table, step):
    """Those of the steps that all threads have left, as they have met at the end of this one."""
    place_of(_word(table, step, 1))[0] = 0
    while step and _word(table, step - 1, 2) == 0:
        step -= 1
        place_of(_word(table, step, 1))[0] = 0
