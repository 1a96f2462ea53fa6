"""Where schemes keep codes, scales and zero points of a matrix, read for a range of its rows.

A matrix has `out` rows and `in` columns, as a linear layer has outputs and inputs.
"""

from dataclasses import dataclass

import numpy as np

from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.packing import bit_stream

_PERIOD = 32
"""So many codes of any width fill whole words."""


@dataclass(frozen=True)
class Columns:
    """Numbers stored as (n, out): those of a row stand below each other."""

    stored: StoredTensor

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n) of the stored dtype."""
        return self.stored.columns(start, stop).T


@dataclass(frozen=True)
class Rows:
    """Numbers stored as (out, n)."""

    stored: StoredTensor

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n) of the stored dtype."""
        return self.stored.rows(start, stop)


@dataclass(frozen=True)
class PackedDown:
    """Codes in words (in * bits / 32, out): those of a row stand below each other, packed along `in`."""

    stored: StoredTensor
    bits: int
    count: int
    """Codes of a row."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, count) u8."""
        return bit_stream.unpack(self.stored.columns(start, stop).T, self.bits, self.count)


@dataclass(frozen=True)
class PackedAlong:
    """Codes in words (out, ceil(in * bits / 32)): those of a row side by side, packed along `in`."""

    stored: StoredTensor
    bits: int
    count: int
    """Codes of a row."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, count) u8."""
        return bit_stream.unpack(self.stored.rows(start, stop), self.bits, self.count)


@dataclass(frozen=True)
class PackedAcross:
    """Codes in words (n, out * bits / 32), packed along `out`: a word has the codes of several rows."""

    stored: StoredTensor
    bits: int
    added: int = 0
    """To what is stored."""
    order: tuple[int, ...] = ()
    """Where each of the codes of a word stands in it, where they are not in order."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n) u8, or i32 where something is added."""
        first, words = start // _PERIOD * _PERIOD, self.stored.width
        end = min(-(-stop // _PERIOD) * self.bits, words)
        packed = self.stored.columns(first // _PERIOD * self.bits, end)
        codes = bit_stream.unpack(packed, self.bits, packed.shape[1] * bit_stream.WORD_BITS // self.bits)
        if self.order:
            codes = codes.reshape(len(codes), -1, len(self.order))[:, :, list(self.order)].reshape(len(codes), -1)
        codes = codes[:, start - first : stop - first].T
        return codes.astype(np.int32) + self.added if self.added else codes
