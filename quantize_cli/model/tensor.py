"""A tensor to write: a name, a shape, and a function that yields row chunks. Nothing is read until asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor

_NUMBER = {
    "F32": GgmlType.F32, "F16": GgmlType.F16, "BF16": GgmlType.BF16, "F64": GgmlType.F64,
    "I8": GgmlType.I8, "I16": GgmlType.I16, "I32": GgmlType.I32, "I64": GgmlType.I64,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A matrix of rows that a model file names, in the type its source stores.

    `read(start, stop)` gives rows [start, stop) as (stop - start, columns) of numbers for F32, F16, BF16 and the
    integers, or (stop - start, row bytes) of uint8 for block types. It may be called from several threads.
    """

    name: str
    shape: tuple[int, ...]
    """Row-major. The last axis is the row; the others are counted together."""
    type: GgmlType
    read: Callable[[int, int], np.ndarray]
    origin: str
    """The file and the name there, for messages."""
    place: tuple[Path, int] | None = None
    """The file, and the byte in it, from which on the rows lie as they are; None if no file holds them so."""
    first_row: int = 0
    """The number of the first row in what `origin` names, for messages."""

    @property
    def row_count(self) -> int:
        return prod(self.shape[:-1])

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    def renamed(self, name: str) -> "Tensor":
        return replace(self, name=name)

    def slab(self, first: int, count: int) -> "Tensor":
        """`count` rows from row `first` on, as a matrix."""
        place = self.place
        if place is not None:
            place = place[0], place[1] + first * row_nbytes(self.type, self.columns)
        return replace(
            self,
            shape=(count, self.columns),
            read=lambda start, stop: self.read(first + start, first + stop),
            place=place,
            first_row=self.first_row + first,
        )

    def reordered(self, order: np.ndarray) -> "Tensor":
        """The same rows in another order: row i of the result is row `order[i]` of this tensor.

        Of a vector, which is one row, the elements.
        """
        if len(self.shape) == 1:
            return replace(self, read=lambda start, stop: self.read(start, stop)[:, order], place=None)

        def read(start: int, stop: int) -> np.ndarray:
            wanted = order[start:stop]
            first, last = int(wanted.min()), int(wanted.max())
            rows: np.ndarray = self.read(first, last + 1)[wanted - first]
            return rows

        return replace(self, read=read, place=None)

    def transposed(self, strip_nbytes: int = 16 << 20) -> "Tensor":
        """The matrix with rows and columns exchanged, read in strips so that it is never whole in memory."""
        rows, columns = self.shape

        def read(start: int, stop: int) -> np.ndarray:
            strip = max(1, strip_nbytes // max(1, columns * 4))
            parts = [self.read(at, min(at + strip, rows))[:, start:stop] for at in range(0, rows, strip)]
            return np.concatenate(parts).T

        return replace(self, shape=(columns, rows), read=read, place=None)

    def scaled(self, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> "Tensor":
        """The same numbers times factors, as float32, multiplied when they are read.

        `rows` (row_count,) f32 has one for each row, `columns` one for each column: (columns,) f32, or
        (matrices, columns) f32 where each matrix of a stack has its own. Columns are multiplied first.
        ValueError unless the numbers are F32, F16 or BF16, and for factors of another shape.
        """
        matrix_rows = prod(self.shape[-2:-1])
        matrices = self.row_count // max(1, matrix_rows)
        if self.type not in FLOAT_TYPES:
            raise ValueError(f"{self.origin}: {self.type.name.lower()} cannot be scaled")
        if rows is not None and rows.shape != (self.row_count,):
            raise ValueError(f"{self.origin}: {rows.shape} factors for {self.row_count} rows")
        if columns is not None and columns.shape not in ((self.columns,), (matrices, self.columns)):
            wanted = f"{self.columns} columns of {matrices} matrices"
            raise ValueError(f"{self.origin}: {columns.shape} factors for {wanted}")

        def read(start: int, stop: int) -> np.ndarray:
            values = self.read(start, stop).astype(np.float32)
            if columns is not None:
                values *= columns if columns.ndim == 1 else columns[np.arange(start, stop) // matrix_rows]
            if rows is not None:
                values *= rows[start:stop, None]
            return values

        return replace(self, type=GgmlType.F32, read=read, place=None)


def from_stored(stored: StoredTensor) -> Tensor:
    """The tensor as its file has it, under its own name; FormatError when no GGML type is its dtype."""
    origin = f"{stored.path}: tensor {quoted(stored.name)}"
    if stored.dtype in _NUMBER:
        type_ = _NUMBER[stored.dtype]
    elif stored.dtype in GgmlType.__members__:
        type_ = GgmlType[stored.dtype]
    else:
        raise FormatError(f"{origin} has dtype {quoted(stored.dtype)}, which is not supported")
    return Tensor(stored.name, stored.shape, type_, stored.rows, origin, (stored.path, stored.offset))


def from_array(name: str, values: np.ndarray) -> Tensor:
    """A tensor computed here rather than read: `values` is float32."""
    matrix = values.reshape(-1, values.shape[-1])
    return Tensor(name, values.shape, GgmlType.F32, lambda start, stop: matrix[start:stop], f"computed tensor '{name}'")


def stack(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Equal matrices as one tensor with a leading axis, in the order given (the experts of a layer)."""
    rows = parts[0].row_count

    def read(start: int, stop: int) -> np.ndarray:
        pieces = []
        for index in range(start // rows, -(-stop // rows)):
            base = index * rows
            pieces.append(parts[index].read(max(start - base, 0), min(stop - base, rows)))
        return np.concatenate(pieces)

    return Tensor(name, (len(parts), *parts[0].shape), parts[0].type, read, parts[0].origin)


DAMAGED_HINT = "the file is damaged, or was made from weights that its types cannot hold"


def refuse_not_finite(weights: np.ndarray, origin: str, first: int) -> float:
    """The largest magnitude of weights; InputError that names the first that is NaN or infinite.

    `first` is the number of the first row.
    """
    if not weights.size:
        return 0.0
    lowest, highest = float(weights.min()), float(weights.max())  # NaN wins both
    if isfinite(lowest) and isfinite(highest):
        return max(-lowest, highest)
    row, column = np.argwhere(~np.isfinite(weights))[0]
    raise InputError(
        f"{origin}: {weights[row, column]} at row {first + row}, column {column}",
        hint="the checkpoint is damaged or its training diverged",
    )
