"""Products of matrices, in panels: ROWS rows of the left and a few lines' worth of columns of the right at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import binding
from numba.core import config

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.simd import floats
from quantize_cli.jit.simd.tile import LINE_NBYTES, doubles, tile_of

_DEPTH = 1024
"""Terms added before the next sums' turn, so that a panel of the right stays in a core's second cache."""
_NEAR = 16
"""Panels of the left that meet one of the right while that is there."""
_SUMMED = 256
"""Products of float32 added up as such before they join a sum in float64."""
_ALONE = 1 << 26
"""Products fewer than these are not worth a second thread."""


def _has_large_registers() -> bool:
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("avx512f", False))


ROWS, LINES = (8, 2) if _has_large_registers() else (6, 1)
"""As many sums as fit the registers, beside what is added; the sums themselves are the same for any shape."""
_empty_floats, _add_floats, _load_floats, _store_floats = tile_of(floats, ROWS, LINES)
_empty_doubles, _add_doubles, _load_doubles, _store_doubles = tile_of(doubles, ROWS, LINES)


def multiply(left: np.ndarray, right: np.ndarray, threads: int = 1) -> np.ndarray:
    """left (m, k) times right (k, n), both f32 or both f64: (m, n) of the same, sums in the order of k."""
    rows, columns = len(left), right.shape[1]
    lefts, rights = _panels(left.T, ROWS), _panels(right, _width(right.dtype))
    out = np.empty((len(lefts) * ROWS, len(rights) * rights.shape[2]), left.dtype)
    work = _multiply_floats if left.dtype == np.float32 else _multiply_doubles
    _shared(lambda first, stop: work(lefts, rights, out, first, stop), len(lefts), out.size * left.shape[1], threads)
    return out[:rows, :columns]


def add_gram(total: np.ndarray, left: np.ndarray, right: np.ndarray | None = None, threads: int = 1) -> None:
    """total (m, n) f64 += left^T right: left (tokens, m) f32, right (tokens, n) f32, or left itself if None.

    So many products as `_SUMMED` are added in float32, then these sums in float64.
    """
    lefts = _panels(left, ROWS)
    rights = _panels(left if right is None else right, _width(left.dtype))
    products = total.size * len(left) // (2 if right is None else 1)
    _shared(
        lambda first, stop: _add_gram(lefts, rights, total, right is None, first, stop), len(lefts), products, threads
    )


def _width(dtype: np.dtype) -> int:
    return LINES * LINE_NBYTES // dtype.itemsize


def _panels(matrix: np.ndarray, width: int) -> np.ndarray:
    """Neighbouring columns of a matrix (k, n), side by side: (panels, k, width), filled up with zeros."""
    panels = np.empty((-(-matrix.shape[1] // width), len(matrix), width), matrix.dtype)
    if matrix.strides[1] > matrix.strides[0]:
        _pack_rows(matrix.T, panels)
    else:
        _pack_columns(matrix, panels)
    return panels


def _shared(work: Callable[[int, int], None], panels: int, products: int, threads: int) -> None:
    """Do panels of the left in turns of `_NEAR`, which any thread may take."""
    starts = range(0, panels, _NEAR)
    if threads == 1 or products < _ALONE:
        for start in starts:
            work(start, min(start + _NEAR, panels))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: work(start, min(start + _NEAR, panels)), starts))


@kernel
def _pack_columns(matrix, panels):
    """matrix (k, n) -> panels (panels, k, width)."""
    width = panels.shape[2]
    for panel in range(panels.shape[0]):
        first = panel * width
        count = min(width, matrix.shape[1] - first)
        for k in range(matrix.shape[0]):
            for i in range(count):
                panels[panel, k, i] = matrix[k, first + i]
            for i in range(count, width):
                panels[panel, k, i] = 0


@kernel
def _pack_rows(matrix, panels):
    """matrix (n, k) -> panels (panels, k, width)."""
    width = panels.shape[2]
    for panel in range(panels.shape[0]):
        first = panel * width
        count = min(width, matrix.shape[0] - first)
        for start in range(0, matrix.shape[1], 16):
            stop = min(start + 16, matrix.shape[1])
            for i in range(count):
                for k in range(start, stop):
                    panels[panel, k, i] = matrix[first + i, k]
            for i in range(count, width):
                for k in range(start, stop):
                    panels[panel, k, i] = 0


def gram_of_triangle(lower: np.ndarray, threads: int = 1) -> np.ndarray:
    """L (n, n) f64, lower triangular -> L^T L."""
    lefts, rights = _panels(lower, ROWS), _panels(lower, _width(lower.dtype))
    out = np.zeros((len(lefts) * ROWS, len(rights) * rights.shape[2]))
    _shared(
        lambda first, stop: _fill_gram(lefts, rights, out, first, stop), len(lefts), lower.size * len(lower), threads
    )
    found = np.triu(out[: len(lower), : len(lower)])
    return found + np.triu(found, 1).T


@merged
def _multiply(lefts, rights, out, first, stop, size, empty, add, load, store):
    depth, width = lefts.shape[1], rights.shape[2]
    distance = out.shape[1] * size
    for start in range(0, max(1, depth), _DEPTH):
        end = min(start + _DEPTH, depth)
        for right in range(rights.shape[0]):
            for left in range(first, stop):
                place = out.ctypes.data + left * ROWS * distance + right * width * size
                sums = load(place, distance, LINE_NBYTES) if start else empty()
                factors = lefts.ctypes.data + (left * depth + start) * ROWS * size
                columns = rights.ctypes.data + (right * depth + start) * width * size
                for _ in range(start, end):
                    sums = add(sums, factors, size, columns)
                    factors += ROWS * size
                    columns += width * size
                store(sums, place, distance, LINE_NBYTES)


@kernel
def _multiply_floats(lefts, rights, out, first, stop):
    """Panels of the left (panels, k, ROWS) f32 from `first` to `stop` times those of the right (panels, k, width)."""
    _multiply(lefts, rights, out, first, stop, 4, _empty_floats, _add_floats, _load_floats, _store_floats)


@kernel
def _multiply_doubles(lefts, rights, out, first, stop):
    """The same in f64."""
    _multiply(lefts, rights, out, first, stop, 8, _empty_doubles, _add_doubles, _load_doubles, _store_doubles)


@kernel
def _fill_gram(lefts, rights, out, first, stop):
    """Products of panels that are zero above their place on the diagonal; on and above the diagonal of `out`."""
    depth, width, distance = lefts.shape[1], rights.shape[2], out.shape[1] * 8
    for right in range(rights.shape[0]):
        for left in range(first, stop):
            row, column = left * ROWS, right * width
            if column + width > row:
                sums, start = _empty_doubles(), min(max(row, column), depth)
                factors = lefts.ctypes.data + (left * depth + start) * ROWS * 8
                columns = rights.ctypes.data + (right * depth + start) * width * 8
                for _ in range(start, depth):
                    sums = _add_doubles(sums, factors, 8, columns)
                    factors += ROWS * 8
                    columns += width * 8
                _store_doubles(sums, out.ctypes.data + row * distance + column * 8, distance, LINE_NBYTES)


@kernel
def _add_gram(lefts, rights, total, is_symmetric, first, stop):
    """total (m, n) f64 += the products; what lies below the diagonal of a symmetric one is what lies above."""
    depth, width = lefts.shape[1], rights.shape[2]
    part, whole = np.empty((ROWS, width), np.float32), np.empty((ROWS, width))
    for right in range(rights.shape[0]):
        for left in range(first, stop):
            row, column = left * ROWS, right * width
            if is_symmetric and column + width <= row:
                continue
            whole[:] = 0
            for start in range(0, depth, _SUMMED):
                sums = _empty_floats()
                factors = lefts.ctypes.data + (left * depth + start) * ROWS * 4
                columns = rights.ctypes.data + (right * depth + start) * width * 4
                for _ in range(start, min(start + _SUMMED, depth)):
                    sums = _add_floats(sums, factors, 4, columns)
                    factors += ROWS * 4
                    columns += width * 4
                _store_floats(sums, part.ctypes.data, width * 4, LINE_NBYTES)
                whole += part
            for i in range(min(ROWS, total.shape[0] - row)):
                for j in range(min(width, total.shape[1] - column)):
                    if not is_symmetric:
                        total[row + i, column + j] += whole[i, j]
                    elif column + j >= row + i:
                        total[row + i, column + j] += whole[i, j]
                        total[column + j, row + i] = total[row + i, column + j]
