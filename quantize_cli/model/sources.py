"""Where rows come from, as values: what a file holds, what another tool quantized, what is in memory.

Each has `rows(start, stop)`, as `formats.stored.StoredTensor` has, which may be called from several threads. All are
plain values without open files, so they can be pickled and read by any process that sees the same files.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from quantize_cli.formats.ggml import GgmlType

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
        return isinstance(other, Held) and are_same(self.values, other.values)


@dataclass(frozen=True)
class Derived(ABC):
    """Rows that are made of others when they are read."""

    source: Source

    @property
    def only_moves_rows(self) -> bool:
        """Whether each row is a row of the source as it is."""
        return False

    @abstractmethod
    def rows(self, start: int, stop: int) -> np.ndarray:
        """As `Source.rows`."""

    @abstractmethod
    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        """The reverse: which row of the source is the first that rows `values` from `start` on are made of, and these.

        ValueError where that is not whole rows.
        """


def innermost(source: Source) -> Source:
    """What rows are read from before anything is made of them."""
    while isinstance(source, Derived):
        source = source.source
    return source


def dequantized(source: Source) -> Dequantized | None:
    """What another tool quantized, where rows are nothing but its rows in some order."""
    while isinstance(source, Derived) and source.only_moves_rows:
        source = source.source
    return source if isinstance(source, Dequantized) else None


def repacked(source: Source, type_: GgmlType) -> Source:
    """The rows that `dequantized` has something for, as blocks of `type_`."""
    if isinstance(source, Dequantized) and isinstance(source.source, Repackable):
        return Repacked(source.source, type_)
    assert isinstance(source, Derived)
    assert source.only_moves_rows
    return replace(source, source=repacked(source.source, type_))


def as_stored(source: Source, values: np.ndarray) -> tuple[int, np.ndarray]:
    """The reverse of reading all rows of `source`: where these values stand in what is innermost, and how.

    The number of the first row there, and the rows from there. ValueError where that is not whole rows.
    """
    first = 0
    while isinstance(source, Derived):
        first, values = source.undone(first, values)
        source = source.source
    return first, values


def are_same(values: np.ndarray | None, others: np.ndarray | None) -> bool:
    """Whether arrays are the same to the bit, or both are None."""
    if values is None or others is None:
        return values is others
    return (values.dtype, values.shape) == (others.dtype, others.shape) and values.tobytes() == others.tobytes()
