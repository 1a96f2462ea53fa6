"""A tensor to write: a name, a shape, a type, and where its rows come from. Nothing is read until asked for."""

from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.changed_rows import Merged, Scaled, Shifted
from quantize_cli.model.rows import (
    EachTransposed,
    EverySecond,
    PairedHeads,
    Slab,
    SlabOfEach,
    Transposed,
    Ungrouped,
    matrix_rows,
)
from quantize_cli.model.sources import (
    LOSSLESS,
    Dequantized,
    Held,
    Repackable,
    Source,
    UnderScale,
    as_stored,
    dequantized,
    innermost,
    repacked,
)

_NUMBER = {
    "F32": GgmlType.F32, "F16": GgmlType.F16, "BF16": GgmlType.BF16, "F64": GgmlType.F64,
    "I8": GgmlType.I8, "I16": GgmlType.I16, "I32": GgmlType.I32, "I64": GgmlType.I64,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A matrix of rows that a model file names, in the type its source stores."""

    name: str
    shape: tuple[int, ...]
    """Row-major. The last axis is the row; the others are counted together."""
    type: GgmlType
    source: Source
    """Where its rows come from."""
    origin: str
    """The file and the name there, for messages."""
    first_row: int = 0
    """The number of the first row in what `origin` names, for messages."""
    takes_scale: bool = False
    """Whether engines multiply its products by a tensor beside it, where a file has one: see `scale_beside`."""

    @property
    def row_count(self) -> int:
        return prod(self.shape[:-1])

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def stored_at(self) -> tuple[Path, int] | None:
        """The file that holds the rows in this order, and the byte of the first; None when no file does."""
        source, first = self.source, 0
        while isinstance(source, Slab):
            first += source.first
            source = source.source
        if not isinstance(source, StoredTensor):
            return None
        return source.path, source.offset + first * row_nbytes(self.type, self.columns)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as (stop - start, columns) of numbers for F32, F16, BF16 and the integers.

        For block types (stop - start, row bytes) of uint8. It may be called from several threads.
        """
        return self.source.rows(start, stop)

    @property
    def stored(self) -> StoredTensor | None:
        """What it is read from, in whatever order; None where it is computed."""
        source = innermost(self.source)
        return source if isinstance(source, StoredTensor) else None

    def as_stored(self, values: np.ndarray) -> tuple[int, np.ndarray]:
        """Where other values (row_count, columns) f32 of this tensor would stand in `stored`.

        The number of the first row there, and the rows from there in the order that the file has. InputError where
        that is not whole rows.
        """
        try:
            return as_stored(self.source, values)
        except ValueError as error:
            raise InputError(f"{self.origin}: {error}") from error

    @property
    def scheme(self) -> str:
        """How another tool had quantized it, as "gptq, 4 bits"; "" for floats."""
        source = innermost(self.source)
        return source.scheme if isinstance(source, Dequantized) else ""

    @property
    def kept_type(self) -> GgmlType | None:
        """The type that keeps it as it is stored: its own, or for what another tool quantized the best of blocks.

        None where such numbers fit no blocks.
        """
        if not self.scheme:
            return self.type
        repackings = {type_: self.repacking(type_) for type_ in self.block_types}
        exact = [type_ for type_, how in repackings.items() if how == LOSSLESS]
        return next(iter([*exact, *(type_ for type_, how in repackings.items() if how)]), None)

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        """The types whose blocks may hold what another tool quantized, the best first."""
        stored = dequantized(self.source)
        return stored.source.block_types if stored and isinstance(stored.source, Repackable) else ()

    def repacking(self, type_: GgmlType) -> str:
        """How blocks of this type hold what another tool quantized: "without loss", or what is lost; "" for not."""
        stored = dequantized(self.source)
        if stored is None or not isinstance(stored.source, Repackable) or type_ not in stored.source.block_types:
            return ""
        if not self.takes_scale and self.scale_beside(type_) is not None:
            return ""
        return stored.source.repacking(type_)

    def scale_beside(self, type_: GgmlType) -> "Tensor | None":
        """The scales of whole matrices that blocks of this type lack, one for each; None where they lack nothing."""
        stored = dequantized(self.source)
        if stored is None or not isinstance(stored.source, UnderScale):
            return None
        scales = stored.source.scale_beside(type_)
        return None if scales is None else from_array(f"{self.name.removesuffix('.weight')}.scale", scales)

    def repacked(self, type_: GgmlType) -> "Tensor":
        """The tensor as blocks of a type for which `repacking` says how."""
        return replace(self, type=type_, source=repacked(self.source, type_))

    def renamed(self, name: str) -> "Tensor":
        return replace(self, name=name)

    def row_range(self, first: int, count: int) -> "Tensor":
        """`count` rows from row `first` on, as a matrix."""
        shape = (count, self.columns)
        return replace(self, shape=shape, source=Slab(self.source, first), first_row=self.first_row + first)

    def rows_of_each(self, first: int, count: int) -> "Tensor":
        """`count` rows from row `first` on of each matrix of a stack, as a stack."""
        matrices, rows, columns = self.shape
        source = SlabOfEach(self.source, rows, first, count)
        return replace(self, shape=(matrices, count, columns), source=source, first_row=0)

    def every_second(self, first: int) -> "Tensor":
        """Every second row of each matrix of a stack, or element of each vector, from number `first` on: 0 or 1."""
        *stack, rows, columns = self.shape
        source = EverySecond(self.source, first, are_vectors=not stack)
        shape = (*stack, rows // 2, columns) if stack else (rows, columns // 2)
        return replace(self, shape=shape, source=source)

    def with_paired_heads(self, heads: int) -> "Tensor":
        """The rows of each of so many heads as adjacent pairs, where they are stored as two halves."""
        length = self.shape[0]
        return replace(self, source=PairedHeads(self.source, length // heads, len(self.shape) == 1))

    def ungrouped(self, groups: int, queries: int) -> "Tensor":
        """All heads of queries, then of keys, then of values; each group stores `queries` of them, one and one."""
        width = self.shape[0] // (groups * (queries + 2))
        return replace(self, source=Ungrouped(self.source, groups, queries, width, len(self.shape) == 1))

    def shifted(self, amount: float) -> "Tensor":
        """The same numbers plus one number, as float32, added when they are read."""
        return replace(self, type=GgmlType.F32, source=Shifted(self.source, amount))

    def transposed(self) -> "Tensor":
        """The matrix, or each of a stack, with rows and columns exchanged."""
        if len(self.shape) == 3:
            matrices, rows, columns = self.shape
            return replace(self, shape=(matrices, columns, rows), source=EachTransposed(self.source, (rows, columns)))
        rows, columns = self.shape
        if isinstance(self.source, Transposed):
            return replace(self, shape=(columns, rows), source=self.source.source)
        return replace(self, shape=(columns, rows), source=Transposed(self.source, (rows, columns)))

    def scaled(self, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> "Tensor":
        """The same numbers times factors, as float32, multiplied when they are read.

        `rows` (row_count,) f32 has one for each row, `columns` one for each column: (columns,) f32, or
        (matrices, columns) f32 where each matrix of a stack has its own. Columns are multiplied first.
        ValueError unless the numbers are F32, F16 or BF16, and for factors of another shape.
        """
        matrices = self.row_count // max(1, matrix_rows(self.shape))
        if self.type not in FLOAT_TYPES:
            raise ValueError(f"{self.origin}: {self.type.name.lower()} cannot be scaled")
        if rows is not None and rows.shape != (self.row_count,):
            raise ValueError(f"{self.origin}: {rows.shape} factors for {self.row_count} rows")
        if columns is not None and columns.shape not in ((self.columns,), (matrices, self.columns)):
            expected = f"{self.columns} columns of {matrices} matrices"
            raise ValueError(f"{self.origin}: {columns.shape} factors for {expected}")
        return replace(self, type=GgmlType.F32, source=Scaled(self.source, matrix_rows(self.shape), rows, columns))

    def plus(self, left: np.ndarray, right: np.ndarray) -> "Tensor":
        """The same numbers plus left (row_count, rank) f32 times right (rank, columns) f32, added when they are read.

        ValueError unless the numbers are F32, F16 or BF16, and for factors of another shape.
        """
        if self.type not in FLOAT_TYPES:
            raise ValueError(f"{self.origin}: nothing can be added to {self.type.name.lower()}")
        if (len(left), right.shape[1]) != (self.row_count, self.columns) or left.shape[1] != len(right):
            raise ValueError(
                f"{self.origin}: {left.shape} and {right.shape} for {self.row_count} rows of {self.columns}"
            )
        return replace(self, type=GgmlType.F32, source=Merged(self.source, left, right))

    def rounded(self, type_: GgmlType, rows: np.ndarray) -> "Tensor":
        """The tensor as it is after rounding: `rows` are its blocks in `type_`, (row_count, row bytes) u8."""
        return replace(self, type=type_, source=Held(rows))


def from_stored(stored: StoredTensor) -> Tensor:
    """The tensor as its file has it, under its own name; FormatError when no GGML type is its dtype."""
    origin = f"{stored.path}: tensor {quoted(stored.name)}"
    if stored.dtype in _NUMBER:
        type_ = _NUMBER[stored.dtype]
    elif stored.dtype in GgmlType.__members__:
        type_ = GgmlType[stored.dtype]
    else:
        raise FormatError(f"{origin} has dtype {quoted(stored.dtype)}, which is not supported")
    return Tensor(stored.name, stored.shape, type_, stored, origin)


def from_array(name: str, values: np.ndarray) -> Tensor:
    """A tensor computed here rather than read: `values` is float32."""
    matrix = values.reshape(-1, values.shape[-1])
    return Tensor(name, values.shape, GgmlType.F32, Held(matrix), f"computed tensor '{name}'")


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
