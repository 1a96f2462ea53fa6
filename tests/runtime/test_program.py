"""Programs run whole on any number of threads, again and again, and leave nothing behind when they do not."""

import gc
import os
import threading
import time

import numpy as np
import pytest

from quantize_cli import dots, quants
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.runtime import barrier
from quantize_cli.runtime.kernels import elementwise
from quantize_cli.runtime.program import Program, Threads
from quantize_cli.runtime.recorder import Recorder
from tests.runtime.kernels.machine import numbers

STEPS = 50
"""More than the leading thread does in one stretch."""


def sums(length: int = 100) -> tuple[Program, np.ndarray]:
    """A program that adds one to each number of an array, STEPS times."""
    program, y, ones = Program(), np.zeros((1, length), np.float32), np.ones((1, length), np.float32)
    for _ in range(STEPS):
        program.add(elementwise.add, y=y, x=ones)
    return program, y


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_run_does_every_step_once(count: int) -> None:
    threads, (program, y) = Threads(count), sums()
    for _ in range(20):
        program.run(threads)
    assert (y == 20 * STEPS).all()


def products(recorder: Recorder, x: np.ndarray) -> list[np.ndarray]:
    """Record three products of the same activations, of different sizes."""
    outs = []
    for rows in (40, 7, 90):
        stored = quants.encode(GgmlType.Q8_0, numbers(rows, rows, x.shape[1]))
        dot, out = dots.find(GgmlType.Q8_0), np.zeros((len(x), rows), np.float32)
        assert dot is not None
        recorder.multiply(stored, dot, x, out)
        outs.append(out)
    return outs


@pytest.mark.parametrize("tokens", [1, 9])
def test_products_made_beside_each_other_are_those_made_alone(tokens: int) -> None:
    x, alone = numbers(0, tokens, 64), Recorder(Threads(1))
    expected = products(alone, x)
    alone.run()
    recorder = Recorder(Threads(3))
    outs = products(recorder, x)
    for _ in range(3):
        for out in outs:
            out[:] = np.nan
        recorder.run()
        assert all(np.array_equal(out, other) for out, other in zip(outs, expected, strict=True))


@pytest.mark.parametrize("calls", [1, 2])
def test_an_interrupted_program_can_be_run_again(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, recorder = numbers(0, 1, 64), Recorder(Threads(3))
    outs = products(recorder, x)
    recorder.run()
    expected = [out.copy() for out in outs]
    lead, done = barrier.lead, []

    def interrupted(*arguments: int) -> None:
        done.append(lead(*arguments))
        if len(done) == calls:
            raise KeyboardInterrupt

    program, y = sums()
    with monkeypatch.context() as patched:
        patched.setattr(barrier, "lead", interrupted)
        with pytest.raises(KeyboardInterrupt):
            program.run(recorder.threads)
    assert (y < STEPS).all()
    y[:] = 0
    program.run(recorder.threads)
    assert (y == STEPS).all()
    recorder.run()
    assert all(np.array_equal(out, other) for out, other in zip(outs, expected, strict=True))


def test_claims_of_an_interrupted_program_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(Threads(2))
    outs = products(recorder, numbers(0, 1, 64))
    with monkeypatch.context() as patched:
        patched.setattr(barrier, "lead", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recorder.run()
    recorder.run()
    assert all(np.abs(out).min() > 0 for out in outs)


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_threads_that_have_nothing_to_do_rest() -> None:
    threads, (program, y) = Threads(3), sums()
    program.run(threads)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
    program.run(threads)
    assert (y == 2 * STEPS).all()


def test_pauses_of_any_length_lose_no_program() -> None:
    threads, (program, y) = Threads(2), sums()
    for pause in np.linspace(0, 0.006, 60):
        program.run(threads)
        time.sleep(pause)
    assert (y == 60 * STEPS).all()


def test_threads_end_with_those_who_have_them_run() -> None:
    threads, (program, _) = Threads(4), sums()
    others = set(threading.enumerate())
    program.run(threads)
    helpers = set(threading.enumerate()) - others
    assert len(helpers) == 3
    del threads
    gc.collect()
    for helper in helpers:
        helper.join(5)
        assert not helper.is_alive()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads are not bound to processors here")
def test_the_thread_that_asks_may_afterwards_be_where_it_might_before() -> None:
    before = os.sched_getaffinity(0)
    program, _ = sums()
    program.run(Threads(len(before)))
    assert os.sched_getaffinity(0) == before
