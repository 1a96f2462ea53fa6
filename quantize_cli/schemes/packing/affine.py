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

_READ_NUMBERS = 1 << 18
"""Scales looked at together."""


class Reader(Protocol):
    """Gives what a matrix stores for some of its rows."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """For rows [start, stop): (stop - start, n)."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same whole number for every row and group."""

    value: int

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, 1), self.value, np.int32)


@dataclass(frozen=True)
class AffineRows:
    """Rows of a matrix with codes of `bits` bits."""

    shape: tuple[int, int]
    bits: int
    codes: Reader
    """(n, columns) of integers."""
    scales: Reader
    """(n, groups) of floats."""
    zeros: Reader
    """(n, groups) of numbers, or (n, 1) for all groups."""
    group_size: int
    """Columns that share a scale and a zero point; the last group may have fewer."""
    is_signed: bool = False
    """Whether codes begin at -2**(bits - 1), and not at 0."""
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
        top = (1 << self.bits) - 1
        types = [type_ for type_, (least, most) in blocks.LEVELS.items() if most - least >= top]
        if not self.is_signed:
            types += [type_ for type_, most in blocks.TOPS.items() if most >= top]
        return tuple(sorted(filter(self._aligns, types), key=_bits_per_weight))

    def repacking(self, type_: GgmlType) -> str:
        if type_ not in self.block_types or not self._is_consecutive():
            return ""
        errors: dict[str, float] = {"scales": 0.0, "minima": 0.0}
        step = max(1, _READ_NUMBERS // -(-self.shape[1] // self.group_size))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            scales, zeros = self.scales.read(start, stop), self.zeros.read(start, stop)
            if type_ in blocks.LEVELS and not self._fits(zeros, *blocks.LEVELS[type_]):
                return ""
            errors["scales"] = max(errors["scales"], blocks.rounding(scales))
            if type_ in blocks.TOPS:
                errors["minima"] = max(errors["minima"], blocks.rounding(_minima(scales, zeros)))
        return blocks.verdict(errors)

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        codes, scales = self.codes.read(start, stop), self.scales.read(start, stop)
        zeros = np.broadcast_to(self.zeros.read(start, stop), scales.shape)
        if type_ in blocks.TOPS:
            return blocks.pack(type_, codes, scale=scales, minimum=_minima(scales, zeros))
        least = blocks.LEVELS[type_][0]
        first = zeros.astype(np.int16) + (0 if type_ is GgmlType.Q8_0 else least)  # Q8_0 stores the level itself
        levels = codes.reshape(*scales.shape, -1).astype(np.int16) - first[:, :, None]
        return blocks.pack(type_, levels.reshape(codes.shape), scale=scales)

    def _fits(self, zeros: np.ndarray, least: int, most: int) -> bool:
        """Whether all levels code - zero are whole numbers between these two, whatever the codes."""
        if not np.array_equal(zeros, np.rint(zeros)):
            return False
        lowest = -(1 << self.bits - 1) if self.is_signed else 0
        highest = lowest + (1 << self.bits) - 1
        return lowest - int(zeros.max()) >= least and highest - int(zeros.min()) <= most

    def _aligns(self, type_: GgmlType) -> bool:
        """Whether whole blocks make a group, and whole groups a row."""
        return self.group_size % BLOCK_SHAPE[type_].weights == 0 and self.shape[1] % self.group_size == 0

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
    size = None if size is None else min(size, columns)
    if size is None or -(-columns // size) != groups:
        raise InputError(
            f"{origin(scales)} has {groups} groups for {columns} columns, "
            + ("which they do not divide" if size is None else f"groups of {size} are {-(-columns // size)}"),
            hint=DAMAGED_HINT,
        )
    return size


def _bits_per_weight(type_: GgmlType) -> float:
    return BLOCK_SHAPE[type_].nbytes / BLOCK_SHAPE[type_].weights


def _minima(scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """What code 0 stands for, (rows, groups) f32."""
    with np.errstate(over="ignore"):
        return -zeros.astype(np.float32) * scales.astype(np.float32)
