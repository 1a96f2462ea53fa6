"""Rows of matrices worked on by several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


def map_rows(
    work: Callable[[slice], _Result], rows: int, step: int, threads: int, per_matrix: int | None = None
) -> list[_Result]:
    """What `work` gives for so many rows, at most `step` at a time, in order; none of more than one matrix."""
    height = per_matrix or rows
    parts = [
        slice(first + start, first + min(start + step, height))
        for first in range(0, rows, max(1, height))
        for start in range(0, height, step)
    ]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
