"""Cholesky factors and inverses, block by block: what is left of a block once products have done most of the work."""

import numpy as np

from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.matrices.products import gram_of_triangle, multiply

_BLOCK = 64


def cholesky(matrix: np.ndarray, threads: int = 1) -> np.ndarray:
    """H (n, n) f64 -> L, lower triangular, with H = L L^T; LinAlgError unless H is positive definite."""
    found = np.zeros(matrix.shape)
    for start in range(0, len(matrix), _BLOCK):
        stop = min(start + _BLOCK, len(matrix))
        done = found[start:, :start]
        column = matrix[start:, start:stop] - multiply(done, done[: stop - start].T, threads)
        if not _factor(column):
            raise np.linalg.LinAlgError("matrix is not positive definite")
        found[start:, start:stop] = column
    return found


def inverse_of_triangle(lower: np.ndarray, threads: int = 1) -> np.ndarray:
    """L (n, n) f64, lower triangular -> its inverse."""
    found = np.zeros(lower.shape)
    for start in range(0, len(lower), _BLOCK):
        stop = min(start + _BLOCK, len(lower))
        rows = -multiply(lower[start:stop, :start], found[:start, :start], threads)
        _solve(lower[start:stop, start:stop], rows)
        found[start:stop, :start] = rows
        corner = np.eye(stop - start)
        _solve(lower[start:stop, start:stop], corner)
        found[start:stop, start:stop] = corner
    return found


def solve_triangle(lower: np.ndarray, right: np.ndarray, threads: int = 1) -> np.ndarray:
    """L (n, n) f64, lower triangular, and B (n, columns) f64 -> L^-1 B."""
    solved = np.empty(right.shape)
    for start in range(0, len(lower), _BLOCK):
        stop = min(start + _BLOCK, len(lower))
        rows = right[start:stop] - multiply(lower[start:stop, :start], solved[:start], threads)
        _solve(lower[start:stop, start:stop], rows)
        solved[start:stop] = rows
    return solved


def inverse(matrix: np.ndarray, threads: int = 1) -> np.ndarray:
    """Of H (n, n) f64, symmetric; LinAlgError unless it is positive definite."""
    return gram_of_triangle(inverse_of_triangle(cholesky(matrix, threads), threads), threads)


@kernel
def _factor(column):
    """The last step for a block's columns (rows, n) f64, of which the first n rows are its square: in place.

    Gives whether all pivots were positive.
    """
    rows, columns = column.shape
    for j in range(columns):
        pivot = column[j, j]
        if not pivot > 0:
            return False
        root = np.sqrt(pivot)
        for i in range(j):
            column[i, j] = 0
        column[j, j] = root
        for i in range(j + 1, rows):
            column[i, j] /= root
        for i in range(j + 1, rows):
            factor = column[i, j]
            for k in range(j + 1, columns):
                column[i, k] -= factor * column[k, j]
    return True


@kernel
def _solve(lower, rows):
    """rows (n, columns) f64 -> L^-1 rows, in place."""
    for i in range(rows.shape[0]):
        for k in range(i):
            factor = lower[i, k]
            for j in range(rows.shape[1]):
                rows[i, j] -= factor * rows[k, j]
        for j in range(rows.shape[1]):
            rows[i, j] /= lower[i, i]
