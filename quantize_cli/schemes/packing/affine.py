"""Weights on a line of their own in each group of columns: weight = (code - zero point) * scale.

What differs between schemes is where codes, scales and zero points stand: see `readers.py`. All of it is read for
a range of rows, and computed in float32, where a product of a code and a float16 is exact.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, origin
from quantize_cli.schemes.packing import blocks

_ROWS_NBYTES = 4 << 20


class Reader(Protocol):
    """Gives what a matrix stores for some of its rows."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """For rows [start, stop): (stop - start, n)."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same number for every row and group."""

    value: int

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, 1), self.value, np.int32)


@dataclass(frozen=True)
class AffineRows:
    """Rows of a matrix whose codes of `bits` bits are unsigned."""

    shape: tuple[int, int]
    bits: int
    codes: Reader
    """(n, columns) u8."""
    scales: Reader
    """(n, groups) of floats."""
    zeros: Reader
    """(n, groups) of integers, or (n, 1) for all groups."""
    group_size: int
    """Columns that share a scale and a zero point; the last group may have fewer."""
    groups: StoredTensor | None = None
    """The group of each column (columns,) i32, where they are not consecutive."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        codes = self.codes.read(start, stop).astype(np.float32)
        scales = self.scales.read(start, stop).astype(np.float32)
        zeros = np.broadcast_to(self.zeros.read(start, stop).astype(np.float32), scales.shape)
        group = self._group(scales.shape[1])
        codes -= zeros[:, group]
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            codes *= scales[:, group]
        return codes

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        types = {4: (GgmlType.Q4_0, GgmlType.Q4_1), 8: (GgmlType.Q8_0,)}.get(self.bits, ())
        return tuple(type_ for type_ in types if self._aligns(BLOCK_SHAPE[type_].weights))

    def repacking(self, type_: GgmlType) -> str:
        if type_ not in self.block_types or not self._is_consecutive():
            return ""
        middle, are_exact = 1 << (self.bits - 1), True
        step = max(1, _ROWS_NBYTES // max(1, self.shape[1] // self.group_size * 16))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            scales, zeros = self.scales.read(start, stop), self.zeros.read(start, stop)
            if not blocks.are_halves(scales):
                return ""
            if type_ is not GgmlType.Q4_1 and (zeros != middle).any():
                return ""
            if type_ is GgmlType.Q4_1:
                minima = _minima(scales, zeros)
                if not np.isfinite(minima.astype(np.float16)).all():
                    return ""
                are_exact = are_exact and blocks.are_halves(minima)
        return blocks.LOSSLESS if are_exact else "with minima rounded to f16"

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        codes, scales = self.codes.read(start, stop), self.scales.read(start, stop)
        if type_ is GgmlType.Q4_1:
            minima = _minima(scales, self.zeros.read(start, stop))
            return blocks.pack(type_, codes, scale=scales, minimum=minima)
        if type_ is GgmlType.Q8_0:
            codes = (codes ^ 0x80).view(np.int8)  # code - 128
        return blocks.pack(type_, codes, scale=scales)

    def _aligns(self, width: int) -> bool:
        return self.group_size % width == 0 and self.shape[1] % self.group_size == 0

    def _is_consecutive(self) -> bool:
        if self.groups is None:
            return True
        expected = np.arange(self.shape[1]) // self.group_size
        return np.array_equal(self._group(-(-self.shape[1] // self.group_size)), expected)

    def _group(self, count: int) -> np.ndarray:
        """The group of each column, (columns,) i64; InputError for one of more than there are."""
        if self.groups is None:
            return np.arange(self.shape[1]) // self.group_size
        group: np.ndarray = self.groups.elements(0, self.shape[1]).astype(np.int64)
        outside = np.flatnonzero((group < 0) | (group >= count))
        if len(outside):
            column = int(outside[0])
            raise InputError(
                f"{origin(self.groups)} puts column {column} into group {group[column]}, there are {count}",
                hint=DAMAGED_HINT,
            )
        return group


def group_size(stated: int | None, columns: int, scales: StoredTensor, groups: int) -> int:
    """Columns of a group, where a matrix has `groups` of them. `stated` is -1 for whole rows, None for unknown.

    InputError where so many groups of the size that is stated do not make a row.
    """
    if stated == -1:
        stated = columns
    size = stated or (columns // groups if columns % groups == 0 else None)
    if size is None or -(-columns // size) != groups:
        raise InputError(
            f"{origin(scales)} has {groups} groups for {columns} columns, "
            + ("which they do not divide" if size is None else f"groups of {size} are {-(-columns // size)}"),
            hint=DAMAGED_HINT,
        )
    return size


def _minima(scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """What code 0 stands for, (rows, groups) f32."""
    with np.errstate(over="ignore"):
        return -zeros.astype(np.float32) * scales.astype(np.float32)
