"""What the reference measures over a whole row or block before it looks at a group."""

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel


def mean_square(weights: np.ndarray) -> np.ndarray:
    """Mean of squares of each row of weights (rows, columns) f32, summed in column order -> (rows,) f32."""
    result = np.empty(len(weights), np.float32)
    _mean_square(weights, result)
    return result


@kernel
def _mean_square(weights, result):
    for row in range(weights.shape[0]):
        result[row] = sum_of_squares(weights, row) / np.float32(weights.shape[1])


@inlined
def sum_of_squares(weights, row):
    """Sum of squares of one row, in column order."""
    squares = np.float32(0)
    for column in range(weights.shape[1]):
        squares += weights[row, column] * weights[row, column]
    return squares
