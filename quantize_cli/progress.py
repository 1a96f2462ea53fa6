"""How long work reports its progress; by default to nobody."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


class Advance(Protocol):
    """Called with each further amount done, and perhaps with how the work stands, in a few words."""

    def __call__(self, amount: int, standing: str = "", /) -> None: ...


def _ignore(message: object) -> None:
    """Report nothing."""


@contextmanager
def _unseen(total: int, unit: str, what: str) -> Iterator[Advance]:
    yield lambda amount, standing="": None


@dataclass(frozen=True)
class Report:
    """Functions that are called during long work, some of them from several threads."""

    note: Callable[[str], None] = _ignore
    """Something a person may want to know."""
    written: Callable[[int], None] = _ignore
    """That many more bytes of tensors are in the file."""
    warn: Callable[[str], None] = _ignore
    """Something a person should know."""
    progress: Callable[[int, str, str], AbstractContextManager[Advance]] = _unseen
    """A context around work, by total, unit and name; it gives a function to call with each further amount done."""


SILENT = Report()
"""Reports nothing."""
