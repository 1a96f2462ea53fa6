"""Where schemes keep numbers of four and eight bits, read for a range of rows.

Rows are counted over all matrices of a stack. Each reader has `read(start, stop)`, as those of `packing/readers.py`.
"""

from dataclasses import dataclass

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, origin
from quantize_cli.schemes.packing import bit_stream

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""What floats of four bits are: a sign, two bits of exponent, one of mantissa."""
_PERIOD = 32
"""So many codes of any width fill whole words."""


@dataclass(frozen=True)
class NibblePairs:
    """Two codes of four bits in a byte, the even column low."""

    stored: StoredTensor
    """(..., rows, columns / 2) of bytes."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, columns) u8."""
        both = self.stored.rows(start, stop).view(np.uint8)
        codes = np.empty((len(both), 2 * both.shape[1]), np.uint8)
        codes[:, 0::2], codes[:, 1::2] = both & 15, both >> 4
        return codes


@dataclass(frozen=True)
class RowPairs:
    """Two codes of four bits in a byte, the even row low."""

    stored: StoredTensor
    """(..., rows / 2, columns) of bytes."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, columns) u8."""
        first, index = start // 2, np.arange(start, stop)
        both = self.stored.rows(first, -(-stop // 2)).view(np.uint8)
        shifts = (index % 2 * 4).astype(np.uint8)
        codes: np.ndarray = both[index // 2 - first] >> shifts[:, None] & 15
        return codes


@dataclass(frozen=True)
class FloatsOf4Bits:
    """Floats of four bits (E2M1), of which the codes are read."""

    codes: NibblePairs

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, columns) f32."""
        levels: np.ndarray = E2M1[self.codes.read(start, stop)]
        return levels


@dataclass(frozen=True)
class IntegersOf4Bits:
    """Two's complement of four bits, of which the codes are read."""

    codes: NibblePairs | RowPairs

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, columns) i8."""
        return ((self.codes.read(start, stop) ^ 8) - np.uint8(8)).view(np.int8)


@dataclass(frozen=True)
class IntegersInBytes:
    """Integers of fewer bits in a byte each."""

    stored: StoredTensor
    """(..., rows, columns) i8."""
    bits: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, columns) i8; InputError for one of more bits."""
        values, limit = self.stored.rows(start, stop), 1 << (self.bits - 1)
        outside = np.argwhere((values < -limit) | (values >= limit))
        if len(outside):
            row, column = outside[0]
            raise InputError(
                f"{origin(self.stored)} has {values[row, column]} at row {start + row}, column {column}, "
                f"which is no integer of {self.bits} bits",
                DAMAGED_HINT,
            )
        return values


@dataclass(frozen=True)
class PackedUp:
    """Codes in words (out * bits / 32, n), packed along `out`: each column is a stream of codes."""

    stored: StoredTensor
    bits: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n) i32."""
        first = start // _PERIOD * _PERIOD
        end = min(-(-stop // _PERIOD) * self.bits, self.stored.row_count)
        words = self.stored.rows(first // _PERIOD * self.bits, end)
        codes = bit_stream.unpack(words.T, self.bits, stop - first)
        return codes[:, start - first :].T.astype(np.int32)


@dataclass(frozen=True)
class Shifted:
    """Integers, plus a number that is the same for all."""

    stored: StoredTensor
    added: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n) i32."""
        return self.stored.rows(start, stop).astype(np.int32) + self.added


@dataclass(frozen=True)
class BlockScales:
    """One number for each block of rows and columns."""

    stored: StoredTensor
    """(matrices, grid rows, grid columns) of floats, or of bytes e that stand for 2 ** (e - 127)."""
    matrix_rows: int
    block_rows: int
    are_exponents: bool = False

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, grid columns) f32."""
        values = self.read_stored(start, stop)
        scales: np.ndarray = powers_of_two(values) if self.are_exponents else values.astype(np.float32)
        return scales

    def read_stored(self, start: int, stop: int) -> np.ndarray:
        """The same in the stored dtype."""
        matrix, row = np.divmod(np.arange(start, stop), self.matrix_rows)
        index = matrix * self.stored.shape[1] + row // self.block_rows
        if not len(index):
            return self.stored.rows(0, 0)
        first, last = int(index[0]), int(index[-1])
        values: np.ndarray = self.stored.rows(first, last + 1)[index - first]
        return values


@dataclass(frozen=True)
class ScaledScales:
    """Scales of blocks times a scale of the whole matrix, or divided by it."""

    scales: BlockScales
    outer: BlockScales
    divided: bool

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, grid columns) f32."""
        inner, outer = self.scales.read(start, stop), self.outer.read(start, stop)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the rows are looked at afterwards
            scales: np.ndarray = inner / outer if self.divided else inner * outer
        return scales

    def of_matrices(self, count: int) -> np.ndarray:
        """The outer scales of so many matrices as factors, (count,) f32."""
        outer = self.outer.stored.elements(0, count).astype(np.float32)
        with np.errstate(divide="ignore", over="ignore"):
            factors: np.ndarray = 1 / outer if self.divided else outer
        return factors


def powers_of_two(exponents: np.ndarray) -> np.ndarray:
    """Bytes e as 2 ** (e - 127) f32, which is infinite for 255: a NaN in E8M0."""
    with np.errstate(over="ignore"):
        powers: np.ndarray = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127)
    return powers
