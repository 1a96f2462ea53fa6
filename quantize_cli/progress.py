"""How long work tells whoever watches how it goes; by default nobody does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass


def _ignore(told: object) -> None:
    """Nobody watches."""


@contextmanager
def _unseen(total: int, unit: str, what: str) -> Iterator[Callable[[int], None]]:
    yield _ignore


@dataclass(frozen=True)
class Report:
    """Functions that are called while work goes on, some of them from several threads."""

    note: Callable[[str], None] = _ignore
    """Something a person may want to know."""
    written: Callable[[int], None] = _ignore
    """That many more bytes of tensors are in the file."""
    warn: Callable[[str], None] = _ignore
    """Something a person should know."""
    progress: Callable[[int, str, str], AbstractContextManager[Callable[[int], None]]] = _unseen
    """Around work of a total, a unit and a name: gives the function that is told of each further amount done."""


SILENT = Report()
"""Nobody watches."""
