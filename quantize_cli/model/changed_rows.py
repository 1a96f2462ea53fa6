"""The same rows with other numbers, worked out as float32 when they are read, as values; see sources.py."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.model.sources import Derived, are_same


@dataclass(frozen=True, eq=False)
class Scaled(Derived):
    """The same numbers as float32, times one factor for each column and then one for each row."""

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

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        """As `Derived.undone`, up to rounding."""
        stop, columns = start + len(values), self.column_factors
        if self.row_factors is not None:
            values = values / self.row_factors[start:stop, None]
        if columns is not None:
            values = values / (columns if columns.ndim == 1 else columns[np.arange(start, stop) // self.matrix_rows])
        return start, values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scaled)
            and (self.source, self.matrix_rows) == (other.source, other.matrix_rows)
            and are_same(self.row_factors, other.row_factors)
            and are_same(self.column_factors, other.column_factors)
        )


@dataclass(frozen=True)
class Shifted(Derived):
    """The same numbers as float32, plus one number."""

    amount: float

    def rows(self, start: int, stop: int) -> np.ndarray:
        values: np.ndarray = self.source.rows(start, stop).astype(np.float32) + np.float32(self.amount)
        return values

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        return start, values - np.float32(self.amount)


@dataclass(frozen=True, eq=False)
class Merged(Derived):
    """The same numbers as float32, plus a product of two small matrices, of which each row is its own sum."""

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

    def undone(self, start: int, values: np.ndarray) -> tuple[int, np.ndarray]:
        """What was added stays: others take the place of the sum."""
        return start, values

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Merged)
            and self.source == other.source
            and are_same(self.left, other.left)
            and are_same(self.right, other.right)
        )
