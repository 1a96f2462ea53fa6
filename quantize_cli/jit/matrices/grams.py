"""Sums over tokens of the products of activations, with themselves or with others of the same tokens."""

from dataclasses import dataclass, field

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.matrices.packing import panels_of
from quantize_cli.jit.matrices.products import LINES, ROWS, shared
from quantize_cli.jit.simd import floats
from quantize_cli.jit.simd.tile import LINE_NBYTES, tile_of

_SUMMED = 256
"""Products of float32 added up as such before they join a sum in float64."""
_WIDTH = LINES * LINE_NBYTES // 4
_APART = _WIDTH if _WIDTH % ROWS == 0 else ROWS
"""The width of panels of the left: that of the right where a tile's rows do not straddle two of them."""
_empty, _add, _, _store = tile_of(floats, ROWS, LINES)


@dataclass(frozen=True)
class Packed:
    """Activations (tokens, n) f32 laid out for sums with others, which may be several."""

    columns: int
    left: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)


def pack(x: np.ndarray) -> Packed:
    """Lay activations (tokens, n) f32 out."""
    right = panels_of(x, _WIDTH)
    return Packed(x.shape[1], right if _APART == _WIDTH else panels_of(x, _APART), right)


def add_gram(total: np.ndarray, left: np.ndarray, right: np.ndarray | None = None, threads: int = 1) -> None:
    """total (m, n) f64 += left^T right: left (tokens, m) f32, right (tokens, n) f32, or left itself if None.

    So many products as `_SUMMED` are added in float32, then these sums in float64.
    """
    packed = pack(left)
    add_packed_gram(total, packed, packed if right is None else pack(right), threads)


def add_packed_gram(total: np.ndarray, left: Packed, right: Packed, threads: int = 1) -> None:
    """The same of activations that are laid out; of one and the same only half of the sums are made."""
    products = total.size * left.right.shape[1] // (2 if left is right else 1)
    shared(
        lambda first, stop: _add_gram(left.left, right.right, total, left is right, first, stop),
        -(-left.columns // ROWS), products, threads,
    )  # fmt: skip


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
            for start in range(0, depth, _SUMMED):
                sums = _empty()
                for _ in range(start, min(start + _SUMMED, depth)):
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
