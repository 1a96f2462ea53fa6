"""Products of matrices, in panels: ROWS rows of the left and a few lines' worth of columns of the right at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import binding
from numba.core import config

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.matrices.packing import panels_of
from quantize_cli.jit.simd import floats
from quantize_cli.jit.simd.tile import LINE_NBYTES, doubles, tile_of

_DEPTH = 1024
"""Terms added before the next sums' turn, so that a panel of the right stays in a core's second cache."""
_NEAR = 16
"""Panels of the left that meet one of the right while that is there."""
_SQUARE = 16
"""Rows and columns that are mirrored at once, so that lines of memory are filled while they are near."""
ALONE = 1 << 26
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
    lefts, rights = panels_of(left.T, ROWS), panels_of(right, _width(right.dtype))
    out = np.empty((len(lefts) * ROWS, len(rights) * rights.shape[2]), left.dtype)
    work = _multiply_floats if left.dtype == np.float32 else _multiply_doubles
    shared(lambda first, stop: work(lefts, rights, out, first, stop), len(lefts), out.size * left.shape[1], threads)
    return out[:rows, :columns]


def _width(dtype: np.dtype) -> int:
    return LINES * LINE_NBYTES // dtype.itemsize


def shared(work: Callable[[int, int], None], panels: int, products: int, threads: int) -> None:
    """Do panels of the left in turns of `_NEAR`, which any thread may take."""
    starts = range(0, panels, _NEAR)
    if threads == 1 or products < ALONE:
        for start in starts:
            work(start, min(start + _NEAR, panels))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: work(start, min(start + _NEAR, panels)), starts))


def gram_of_triangle(lower: np.ndarray, threads: int = 1) -> np.ndarray:
    """L (n, n) f64, lower triangular -> L^T L."""
    lefts, rights = panels_of(lower, ROWS), panels_of(lower, _width(lower.dtype))
    out = np.zeros((len(lefts) * ROWS, len(rights) * rights.shape[2]))
    shared(
        lambda first, stop: _fill_gram(lefts, rights, out, first, stop), len(lefts), lower.size * len(lower), threads
    )
    found = np.empty(lower.shape)
    _mirror(out, found)
    return found


@kernel
def _mirror(upper, found):
    """The symmetric matrix (n, n) of which the part on and above the diagonal is at hand, block by block."""
    size = found.shape[0]
    for top in range(0, size, _SQUARE):
        for left in range(top, size, _SQUARE):
            for i in range(top, min(top + _SQUARE, size)):
                for j in range(max(i, left), min(left + _SQUARE, size)):
                    found[i, j] = found[j, i] = upper[i, j]


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
