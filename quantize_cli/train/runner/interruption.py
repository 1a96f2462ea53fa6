"""Signals that end a process, held back until what is in progress is whole and saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | int
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """In the block a signal only makes the function that is given true; after the block it has its usual effect.

    A second signal has its effect at once. Other threads than the main one get no signals, so nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived: list[int] = []
    handlers: dict[int, _Handler] = {}

    def hold(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            _restore(handlers)
            signal.raise_signal(number)

    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        handler = signal.getsignal(number)
        if handler is not None and handler is not signal.SIG_IGN:
            handlers[number] = handler
            signal.signal(number, hold)
    try:
        yield lambda: bool(arrived)
    finally:
        _restore(handlers)
    if arrived:
        signal.raise_signal(arrived[0])
        raise KeyboardInterrupt  # a handler that lets the process go on does not make half a training a whole one


def _restore(handlers: dict[int, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
