"""Rows of others in another order, or some of them, as values; see sources.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli.model.sources import Derived

_STRIP_NBYTES = 16 << 20


@dataclass(frozen=True)
class Slab(Derived):
    """The rows from row `first` on."""

    first: int

    @property
    def only_moves_rows(self) -> bool:
        return True

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.source.rows(self.first + start, self.first + stop)

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        return start + self.first, values


@dataclass(frozen=True)
class SlabOfEach(Derived):
    """Of each matrix of a stack, `count` rows from row `first` on."""

    matrix_rows: int
    """Rows of one matrix of the source."""
    first: int
    count: int

    @property
    def only_moves_rows(self) -> bool:
        return True

    def rows(self, start: int, stop: int) -> np.ndarray:
        parts = [self.source.rows(at, end) for at, end in self._ranges(start, stop)]
        return np.concatenate(parts) if parts else self.source.rows(0, 0)

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        raise ValueError(f"{len(values)} rows are {self.count} of each {self.matrix_rows}, no whole range")

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The rows of the source, matrix by matrix."""
        while start < stop:
            matrix, within = divmod(start, self.count)
            taken = min(stop - start, self.count - within)
            at = matrix * self.matrix_rows + self.first + within
            yield at, at + taken
            start += taken


@dataclass(frozen=True)
class EverySecond(Derived):
    """Every second row from row `first` on: 0 or 1. Of vectors, of which each is a row, the elements."""

    first: int
    are_vectors: bool = False

    @property
    def only_moves_rows(self) -> bool:
        return not self.are_vectors

    def rows(self, start: int, stop: int) -> np.ndarray:
        if self.are_vectors:
            return self.source.rows(start, stop)[:, self.first :: 2]
        return self.source.rows(2 * start, 2 * stop)[self.first :: 2]

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        raise ValueError(f"{len(values)} rows of a stack are no whole range of what is stored")


@dataclass(frozen=True)
class PairedHeads(Derived):
    """The rows of each head, stored as two halves, as adjacent pairs: the first of each half, then the second, ...

    Of a vector, which is one row, the elements.
    """

    head_width: int
    """Rows of a head."""
    is_vector: bool = False

    @property
    def only_moves_rows(self) -> bool:
        return True

    def rows(self, start: int, stop: int) -> np.ndarray:
        if self.is_vector:
            whole = self.source.rows(start, stop)
            return whole[:, self._order(0, whole.shape[1])]
        order = self._order(start, stop)
        first, last = int(order.min()), int(order.max())
        rows: np.ndarray = self.source.rows(first, last + 1)[order - first]
        return rows

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        """The first stored row, and stored rows from there, of which rows from `start` on are `values`."""
        stored = np.empty_like(values)
        if self.is_vector:
            stored[:, self._order(0, values.shape[1])] = values
            return start, stored
        order = self._order(start, start + len(values))
        first = int(order.min())
        if int(order.max()) - first >= len(values):
            raise ValueError(f"{len(values)} rows from row {start} on are no whole heads of {self.head_width}")
        stored[order - first] = values
        return first, stored

    def _order(self, start: int, stop: int) -> np.ndarray:
        """Which stored row each of rows [start, stop) is: (stop - start,) i64."""
        index = np.arange(start, stop)
        within = index % self.head_width
        return index - within + within % 2 * (self.head_width // 2) + within // 2


@dataclass(frozen=True)
class Ungrouped(Derived):
    """All queries, then all keys, then all values, of rows that are stored in groups.

    A group is some heads of queries, one of keys and one of values. Of a vector, which is one row, the elements.
    """

    groups: int
    queries: int
    """Heads of queries in a group."""
    head_width: int
    """Rows of a head."""
    is_vector: bool = False

    def rows(self, start: int, stop: int) -> np.ndarray:
        if self.is_vector:
            whole = self.source.rows(start, stop)
            return whole[:, self._order(0, whole.shape[1])]
        width, parts = self.head_width, []
        while start < stop:  # a head is read alone: the next one may be far from it
            end = min(stop, start - start % width + width)
            first = int(self._order(start, start + 1)[0])
            parts.append(self.source.rows(first, first + end - start))
            start = end
        return np.concatenate(parts)

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        """The stored rows of which all rows, or in a vector all elements, are `values`, from row 0 on."""
        stored = np.empty_like(values)
        count = values.shape[1] if self.is_vector else len(values)
        if count != self.groups * (self.queries + 2) * self.head_width:
            raise ValueError(f"{count} rows are not all of {self.groups} groups of heads")
        order = self._order(0, count)
        if self.is_vector:
            stored[:, order] = values
            return start, stored
        stored[order] = values
        return 0, stored

    def _order(self, start: int, stop: int) -> np.ndarray:
        """Which stored row each of rows [start, stop) is: (stop - start,) i64."""
        index = np.arange(start, stop)
        head, within = np.divmod(index, self.head_width)
        kind, group_of_other = np.divmod(head - self.groups * self.queries, self.groups)
        is_query = head < self.groups * self.queries
        group = np.where(is_query, head // self.queries, group_of_other)
        member = np.where(is_query, head % self.queries, self.queries + kind)
        order: np.ndarray = (group * (self.queries + 2) + member) * self.head_width + within
        return order


@dataclass(frozen=True)
class Transposed(Derived):
    """A matrix with rows and columns exchanged, read in strips so that it is never whole in memory."""

    shape: tuple[int, int]
    """Of the source: rows and columns."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        count, columns = self.shape
        strip = max(1, _STRIP_NBYTES // max(1, columns * 4))
        parts = [self.source.rows(at, min(at + strip, count))[:, start:stop] for at in range(0, count, strip)]
        return np.concatenate(parts).T

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        if start or len(values) != self.shape[1]:
            raise ValueError(f"{len(values)} of {self.shape[1]} columns are no whole rows")
        return 0, values.T


@dataclass(frozen=True)
class EachTransposed(Derived):
    """Every matrix of a stack with rows and columns exchanged."""

    shape: tuple[int, int]
    """Of one matrix of the source: rows and columns."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        (count, columns), parts = self.shape, []
        while start < stop:
            matrix, first = divmod(start, columns)
            last = min(columns, first + stop - start)
            parts.append(Transposed(Slab(self.source, matrix * count), self.shape).rows(first, last))
            start += last - first
        return np.concatenate(parts) if parts else self.source.rows(0, 0)[:, :0].reshape(0, count)

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        raise ValueError(f"{len(values)} rows of a stack are no whole range of what is stored")


def matrix_rows(shape: tuple[int, ...]) -> int:
    """Rows of one matrix of a stack of this shape."""
    return prod(shape[-2:-1])
