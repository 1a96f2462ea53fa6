"""Many small matrices (n, size, size) f64 at a time."""

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel

_NOTHING = 1e-7
"""A pivot of so little of the largest diagonal element is rounding of float32, and taken for nought."""


@kernel
def weighted_grams(factors, weights):
    """R (n, size, size) f64 and d (n, size) f32 -> R diag(d) R^T."""
    count, size = weights.shape
    found = np.zeros(factors.shape)
    for index in range(count):
        for i in range(size):
            for j in range(size):
                for k in range(size):
                    found[index, i, j] += factors[index, i, k] * weights[index, k] * factors[index, j, k]
    return found


@kernel
def inverses(matrices):
    """Of symmetric matrices without negative eigenvalues; where columns depend on others, these are left out.

    Sweeps (Goodnight, A Tutorial on the SWEEP Operator, 1979), which give a generalized inverse where some are left
    out: rows and columns of those are zero.
    """
    found = matrices.copy()
    for index in range(found.shape[0]):
        matrix = found[index]
        largest = 0.0
        for pivot in range(matrix.shape[0]):
            largest = max(largest, matrix[pivot, pivot])
        for pivot in range(matrix.shape[0]):
            if matrix[pivot, pivot] > _NOTHING * largest:
                _sweep(matrix, pivot)
            else:
                matrix[pivot, :] = 0
                matrix[:, pivot] = 0
    return found


@inlined
def _sweep(matrix, pivot):
    d = matrix[pivot, pivot]
    for j in range(matrix.shape[0]):
        matrix[pivot, j] /= d
    for i in range(matrix.shape[0]):
        if i != pivot:
            factor = matrix[i, pivot]
            for j in range(matrix.shape[0]):
                matrix[i, j] -= factor * matrix[pivot, j]
            matrix[i, pivot] = -factor / d
    matrix[pivot, pivot] = 1 / d


@kernel
def inverses_of_triangles(matrices):
    """Of upper triangular matrices."""
    found = np.zeros(matrices.shape)
    size = matrices.shape[1]
    for index in range(matrices.shape[0]):
        for j in range(size):
            found[index, j, j] = 1 / matrices[index, j, j]
            for i in range(j - 1, -1, -1):
                total = 0.0
                for k in range(i + 1, j + 1):
                    total += matrices[index, i, k] * found[index, k, j]
                found[index, i, j] = -total / matrices[index, i, i]
    return found
