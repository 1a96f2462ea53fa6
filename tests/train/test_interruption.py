"""A signal waits until a step is whole; a second one does not."""

import contextlib
import signal
import threading

import pytest

torch = pytest.importorskip("torch")

from quantize_cli.train.runner.interruption import held_back  # noqa: E402


def stopped(*numbers: int) -> list[bool]:
    """Whether a block knew of signals after each that it raised, as far as it came."""
    knew = []
    with contextlib.suppress(KeyboardInterrupt), held_back() as is_stopped:
        knew.append(is_stopped())
        for number in numbers:
            signal.raise_signal(number)
            knew.append(is_stopped())
    return knew


def test_a_signal_has_its_effect_after_the_block() -> None:
    assert stopped() == [False]
    assert stopped(signal.SIGINT) == [False, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    block = held_back()
    block.__enter__()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        block.__exit__(None, None, None)


def test_the_handler_that_was_there_is_called_then() -> None:
    arrived: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: arrived.append(number))
    try:
        assert stopped(signal.SIGTERM) == [False, True]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert arrived == [signal.SIGTERM]


def test_a_second_signal_does_not_wait() -> None:
    assert stopped(signal.SIGINT, signal.SIGINT, signal.SIGINT) == [False, True]


def test_an_error_in_the_block_comes_out() -> None:
    with pytest.raises(ZeroDivisionError), held_back():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_hold_nothing_back() -> None:
    answers = []

    def work() -> None:
        with held_back() as is_stopped:
            answers.append(is_stopped())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
