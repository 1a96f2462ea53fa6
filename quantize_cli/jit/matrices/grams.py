"""Sums over tokens of the products of activations, with themselves or with others of the same tokens.

Activations are rounded to bfloat16, which changes each by at most 0.2 %, now up and now down: the sums of thousands
hardly notice. Processors that multiply pairs of such numbers are then done in half the time; others add the same
numbers in the same order, and get the same bits (see quantize_cli/jit/simd/bfloat16.py).
"""

from dataclasses import dataclass, field

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.matrices.products import LINES, ROWS, shared
from quantize_cli.jit.simd.bfloat16 import bfloat16_bits, bfloat16_tile_of, has_pairs
from quantize_cli.jit.simd.tile import LINE_NBYTES

_SUMMED = 256
"""Products added up in float32 before they join a sum in float64."""
_WIDTH = LINES * LINE_NBYTES // 4
_APART = _WIDTH if _WIDTH % ROWS == 0 else ROWS
"""The width of panels of the left: that of the right where a tile's rows do not straddle two of them."""
_TERMS = 2 if has_pairs() else 1
"""Tokens whose products are added in one step."""
_empty, _add, _, _store = bfloat16_tile_of(ROWS, LINES)
_BLOCK = 16
"""Pairs of tokens laid out at once, so that what is read of them stays near until all panels have it."""


@dataclass(frozen=True)
class Packed:
    """Activations laid out for sums with others, which may be several."""

    tokens: int
    columns: int
    left: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)


def pack(x: np.ndarray) -> Packed:
    """Lay activations (tokens, n) f32 out."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    right = _panels(bits, _WIDTH)
    left = right if _APART == _WIDTH else _panels(bits, _APART)
    return Packed(x.shape[0], x.shape[1], left, right)


def _panels(bits: np.ndarray, width: int) -> np.ndarray:
    """(panels, pairs of tokens, width) u32, or single ones, the second of two first, as f32 (panels, tokens, width)."""
    panels, pairs = -(-bits.shape[1] // width), -(-len(bits) // 2)
    laid_out = np.empty((panels, pairs * 2 // _TERMS, width), np.uint32)
    (_lay_out_pairs if _TERMS == 2 else _lay_out_singles)(bits, laid_out)
    return laid_out


def add_gram(total: np.ndarray, left: np.ndarray, right: np.ndarray | None = None, threads: int = 1) -> None:
    """total (m, n) f64 += left^T right: left (tokens, m) f32, right (tokens, n) f32, or left itself if None.

    The products are of the numbers rounded to bfloat16, of less than 2^-56 taken for nought.
    """
    packed = pack(left)
    add_packed_gram(total, packed, packed if right is None else pack(right), threads)


def add_packed_gram(total: np.ndarray, left: Packed, right: Packed, threads: int = 1) -> None:
    """The same of activations that are laid out; of one and the same only half of the sums are made."""
    products = total.size * left.tokens // (2 if left is right else 1)
    shared(
        lambda first, stop: _add_gram(left.left, right.right, total, left is right, first, stop),
        -(-left.columns // ROWS), products, threads,
    )  # fmt: skip


@kernel
def _lay_out_pairs(bits, panels):
    """bits (tokens, n) u32 -> pairs (panels, pairs, width) u32, the second of two tokens in the upper halves."""
    depth, width = panels.shape[1], panels.shape[2]
    for start in range(0, depth, _BLOCK):
        for panel in range(panels.shape[0]):
            first, count = panel * width, min(width, bits.shape[1] - panel * width)
            for pair in range(start, min(start + _BLOCK, depth)):
                panels[panel, pair, count:] = 0
                if 2 * pair + 1 < bits.shape[0]:
                    for i in range(count):
                        lower = np.uint32(bfloat16_bits(bits[2 * pair, first + i]) >> np.uint32(16))
                        panels[panel, pair, i] = bfloat16_bits(bits[2 * pair + 1, first + i]) | lower
                else:
                    for i in range(count):
                        panels[panel, pair, i] = bfloat16_bits(bits[2 * pair, first + i]) >> np.uint32(16)


@kernel
def _lay_out_singles(bits, panels):
    """bits (tokens, n) u32 -> those of float32 (panels, tokens, width) u32, the second of two tokens first."""
    depth, width = panels.shape[1], panels.shape[2]
    for start in range(0, depth, 2 * _BLOCK):
        for panel in range(panels.shape[0]):
            first, count = panel * width, min(width, bits.shape[1] - panel * width)
            for step in range(start, min(start + 2 * _BLOCK, depth)):
                panels[panel, step, :] = 0
                if step ^ 1 < bits.shape[0]:
                    for i in range(count):
                        panels[panel, step, i] = bfloat16_bits(bits[step ^ 1, first + i])


@kernel
def _add_gram(lefts, rights, total, is_symmetric, first, stop):
    """total (m, n) f64 += the products, for `ROWS` rows at a time from `first` to `stop`."""
    depth, width, apart = rights.shape[1], rights.shape[2], lefts.shape[2]
    part, whole = np.empty(ROWS * width, np.float32), np.empty(ROWS * width)
    for right in range(rights.shape[0]):
        for left in range(first, stop):
            row, column = left * ROWS, right * width
            if is_symmetric and column + width <= row:
                continue
            whole[:] = 0
            factors = lefts.ctypes.data + (row // apart * depth * apart + row % apart) * 4
            columns = rights.ctypes.data + right * depth * width * 4
            for start in range(0, depth, _SUMMED // _TERMS):
                sums = _empty()
                for _ in range(start, min(start + _SUMMED // _TERMS, depth)):
                    sums = _add(sums, factors, 4, columns)
                    factors += apart * 4
                    columns += width * 4
                _store(sums, part.ctypes.data, width * 4, LINE_NBYTES)
                for i in range(ROWS * width):
                    whole[i] += part[i]
            _count_in(total, whole, row, column, width, is_symmetric)


@inlined
def _count_in(total, whole, row, column, width, is_symmetric):
    """Add a tile; what lies below the diagonal of a symmetric sum is what lies above."""
    height, across = min(ROWS, total.shape[0] - row), min(width, total.shape[1] - column)
    for i in range(height):
        for j in range(max(0, row + i - column) if is_symmetric else 0, across):
            total[row + i, column + j] += whole[i * width + j]
    if is_symmetric:
        for j in range(across):
            for i in range(min(height, column + j - row)):
                total[column + j, row + i] = total[row + i, column + j]
