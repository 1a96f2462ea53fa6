"""Where rows come from, as values: what a file holds, and what is made of it when it is read.

Each has `rows(start, stop)`, as `formats.stored.StoredTensor` has, which may be called from several threads. All are
plain values without open files, so they can be pickled and read by any process that sees the same files.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np

from quantize_cli.formats.ggml import GgmlType

_STRIP_NBYTES = 16 << 20

LOSSLESS = "without loss"
"""What `Repackable.repacking` says where not a bit of a weight changes."""


class Source(Protocol):
    """Anything that gives rows of a matrix."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop): (stop - start, columns) of numbers, or (stop - start, row bytes) u8 of block types."""
        ...


@runtime_checkable
class Repackable(Protocol):
    """Rows that another tool quantized, of which blocks of a GGML type can hold the same codes."""

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        """The types that may hold them, the best first; by the shapes alone, nothing is read."""
        ...

    def repacking(self, type_: GgmlType) -> str:
        """How blocks of one of these types hold the weights: LOSSLESS, or what is lost; "" where they cannot.

        Scales and zero points may be read.
        """
        ...

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) in such a type: (stop - start, row bytes) u8."""
        ...


@runtime_checkable
class UnderScale(Protocol):
    """Rows of which blocks may lack one more scale, which all weights of a matrix have."""

    def scale_beside(self, type_: GgmlType) -> np.ndarray | None:
        """What weights in blocks of this type are still to be multiplied by, (matrices,) f32; None for nothing."""
        ...


@dataclass(frozen=True)
class Dequantized:
    """Rows that another tool quantized, as float32, computed when they are read."""

    source: Source
    """A scheme's, of which `rows` gives float32; it may be `Repackable` as well."""
    scheme: str
    """How they are stored, for messages: "gptq, 4 bits"."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.source.rows(start, stop)


@dataclass(frozen=True)
class Repacked:
    """The same rows as blocks of a GGML type, with the codes and scales that were stored."""

    source: Repackable
    type: GgmlType

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.source.blocks(self.type, start, stop)


@dataclass(frozen=True, eq=False)
class Held:
    """Rows in memory: what was computed rather than read. (rows, columns) of numbers, or (rows, row bytes) u8."""

    values: np.ndarray

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and _are_same(self.values, other.values)


@dataclass(frozen=True)
class Slab:
    """The rows from row `first` on."""

    source: Source
    first: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.source.rows(self.first + start, self.first + stop)


@dataclass(frozen=True)
class SlabOfEach:
    """Of each matrix of a stack, `count` rows from row `first` on."""

    source: Source
    matrix_rows: int
    """Rows of one matrix of the source."""
    first: int
    count: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        parts = [self.source.rows(at, end) for at, end in self._ranges(start, stop)]
        return np.concatenate(parts) if parts else self.source.rows(0, 0)

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The rows of the source, matrix by matrix."""
        while start < stop:
            matrix, within = divmod(start, self.count)
            taken = min(stop - start, self.count - within)
            at = matrix * self.matrix_rows + self.first + within
            yield at, at + taken
            start += taken


@dataclass(frozen=True)
class EverySecond:
    """Every second row from row `first` on: 0 or 1. Of vectors, of which each is a row, the elements."""

    source: Source
    first: int
    are_vectors: bool = False

    def rows(self, start: int, stop: int) -> np.ndarray:
        if self.are_vectors:
            return self.source.rows(start, stop)[:, self.first :: 2]
        return self.source.rows(2 * start, 2 * stop)[self.first :: 2]


@dataclass(frozen=True)
class PairedHeads:
    """The rows of each head, stored as two halves, as adjacent pairs: the first of each half, then the second, ...

    Of a vector, which is one row, the elements.
    """

    source: Source
    head_width: int
    """Rows of a head."""
    is_vector: bool = False

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
class Ungrouped:
    """All queries, then all keys, then all values, of rows that are stored in groups.

    A group is some heads of queries, one of keys and one of values. Of a vector, which is one row, the elements.
    """

    source: Source
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
class Transposed:
    """A matrix with rows and columns exchanged, read in strips so that it is never whole in memory."""

    source: Source
    shape: tuple[int, int]
    """Of the source: rows and columns."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        count, columns = self.shape
        strip = max(1, _STRIP_NBYTES // max(1, columns * 4))
        parts = [self.source.rows(at, min(at + strip, count))[:, start:stop] for at in range(0, count, strip)]
        return np.concatenate(parts).T


@dataclass(frozen=True)
class EachTransposed:
    """Every matrix of a stack with rows and columns exchanged."""

    source: Source
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


@dataclass(frozen=True, eq=False)
class Scaled:
    """The same numbers as float32, times one factor for each column and then one for each row."""

    source: Source
    matrix_rows: int
    """Rows of one matrix of a stack."""
    row_factors: np.ndarray | None
    """(rows,) f32."""
    column_factors: np.ndarray | None
    """(columns,) f32, or (matrices, columns) f32."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        values = self.source.rows(start, stop).astype(np.float32)
        columns = self.column_factors
        if columns is not None:
            values *= columns if columns.ndim == 1 else columns[np.arange(start, stop) // self.matrix_rows]
        if self.row_factors is not None:
            values *= self.row_factors[start:stop, None]
        return values

    def undone(self, start: int, values: np.ndarray) -> np.ndarray:
        """The stored rows that `values`, rows from `start` on, are made of, up to rounding."""
        stop, columns = start + len(values), self.column_factors
        if self.row_factors is not None:
            values = values / self.row_factors[start:stop, None]
        if columns is not None:
            values = values / (columns if columns.ndim == 1 else columns[np.arange(start, stop) // self.matrix_rows])
        return values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scaled)
            and (self.source, self.matrix_rows) == (other.source, other.matrix_rows)
            and _are_same(self.row_factors, other.row_factors)
            and _are_same(self.column_factors, other.column_factors)
        )


@dataclass(frozen=True)
class Shifted:
    """The same numbers as float32, plus one number."""

    source: Source
    amount: float

    def rows(self, start: int, stop: int) -> np.ndarray:
        values: np.ndarray = self.source.rows(start, stop).astype(np.float32) + np.float32(self.amount)
        return values


@dataclass(frozen=True, eq=False)
class Merged:
    """The same numbers as float32, plus a product of two small matrices, of which each row is its own sum."""

    source: Source
    left: np.ndarray
    """(rows, rank) f32."""
    right: np.ndarray
    """(rank, columns) f32."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        from quantize_cli.jit.matrices import multiply

        values = self.source.rows(start, stop).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            values += multiply(self.left[start:stop], self.right)
        return values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Merged)
            and self.source == other.source
            and _are_same(self.left, other.left)
            and _are_same(self.right, other.right)
        )


_MADE = (Slab, SlabOfEach, EverySecond, PairedHeads, Ungrouped, Transposed, EachTransposed, Scaled, Shifted, Merged)


def innermost(source: Source) -> Source:
    """What rows are read from before anything is made of them."""
    while isinstance(source, _MADE):
        source = source.source
    return source


def dequantized(source: Source) -> Dequantized | None:
    """What another tool quantized, where rows are nothing but its rows in some order."""
    while isinstance(source, (Slab, SlabOfEach, PairedHeads)) or _takes_rows(source):
        source = source.source
    return source if isinstance(source, Dequantized) else None


def _takes_rows(source: Source) -> TypeGuard[EverySecond]:
    return isinstance(source, EverySecond) and not source.are_vectors


def repacked(source: Source, type_: GgmlType) -> Source:
    """The rows that `dequantized` has something for, as blocks of `type_`."""
    if isinstance(source, Dequantized) and isinstance(source.source, Repackable):
        return Repacked(source.source, type_)
    assert isinstance(source, (Slab, SlabOfEach, EverySecond, PairedHeads))
    return replace(source, source=repacked(source.source, type_))


def as_stored(source: Source, values: np.ndarray) -> tuple[int, np.ndarray]:
    """The reverse of reading all rows of `source`: where these values stand in what is innermost, and how.

    The number of the first row there, and the rows from there. ValueError where that is not whole rows.
    """
    first = 0
    while isinstance(source, _MADE):
        if isinstance(source, Slab):
            first += source.first
        elif isinstance(source, SlabOfEach):
            raise ValueError(f"{len(values)} rows are {source.count} of each {source.matrix_rows}, no whole range")
        elif isinstance(source, (EverySecond, EachTransposed)):
            raise ValueError(f"{len(values)} rows of a stack are no whole range of what is stored")
        elif isinstance(source, (PairedHeads, Ungrouped)):
            first, values = source.undone(first, values)
        elif isinstance(source, Transposed):
            if first or len(values) != source.shape[1]:
                raise ValueError(f"{len(values)} of {source.shape[1]} columns are no whole rows")
            values = values.T
        elif isinstance(source, Scaled):
            values = source.undone(first, values)
        elif isinstance(source, Shifted):
            values = values - np.float32(source.amount)
        source = source.source
    return first, values


def _are_same(values: np.ndarray | None, others: np.ndarray | None) -> bool:
    if values is None or others is None:
        return values is others
    return (values.dtype, values.shape) == (others.dtype, others.shape) and values.tobytes() == others.tobytes()


def matrix_rows(shape: tuple[int, ...]) -> int:
    """Rows of one matrix of a stack of this shape."""
    return prod(shape[-2:-1])
