"""Rounding column by column, where each error is carried into the columns not yet rounded.

What a matrix W is to lose by becoming Q is E H E^T for each row E of W - Q, H the second moment of its inputs. With
H = R D R^T, R upper triangular with ones on its diagonal, that is the sum over columns of D_k (t_k - q_k)^2 with

    t_k = w_k + sum over j < k of (w_j - q_j) R_jk

so that each column is best rounded to what is nearest t_k. This is GPTQ (Frantar et al. 2022) in the form that QuIP
(Chee et al. 2023, section 3) shows to be the same.
"""

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.matrices import cholesky
from quantize_cli.jit.simd import load, splat, store

f32 = np.float32
_FAR = f32(1e6)
"""Beyond every level, and small enough to be an int."""


def factor(moments: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """H (n, n) f64, positive definite -> R (n, n) f32 with ones on its diagonal, and D (n,) f32; LinAlgError if not."""
    upper = cholesky(moments[::-1, ::-1], threads)[::-1, ::-1]
    diagonal = upper.diagonal().copy()
    upper /= diagonal
    return upper.astype(np.float32), np.square(diagonal).astype(np.float32)


@inlined
def nearest_level(value, levels, is_even):
    """The number of the level nearest to a value."""
    top = levels.shape[0] - 1
    if is_even:
        bounded = min(max(value, -_FAR), _FAR)
        return min(max(int(np.rint(bounded - levels[0])), 0), top)
    nearest = 0
    for i in range(top):
        nearest += value > (levels[i] + levels[i + 1]) * f32(0.5)
    return nearest


@kernel
def round_with_feedback(weights, target, carry, step, offset, group, levels, is_even, level, error):
    """Round neighbouring columns from left to right, each row on its own.

    weights (rows, n) f32; target (rows, n) f32, the same and what columns elsewhere carry here, is overwritten; carry
    (n, n) f32, the part of R between these columns; step and offset (rows, n / group) f32 -> level (rows, n) u8 and
    error (rows, n) f32, weights less what they were rounded to.
    """
    columns = weights.shape[1]
    for row in range(weights.shape[0]):
        for column in range(columns):
            d, m = step[row, column // group], offset[row, column // group]
            chosen = nearest_level((target[row, column] - m) / d if d != f32(0) else f32(0), levels, is_even)
            level[row, column] = chosen
            left = weights[row, column] - (d * levels[chosen] + m)
            error[row, column] = left
            for i in range(column // 16 * 16, columns, 16):  # what changes of columns already rounded is not read
                store(target, row, i, load(target, row, i) + load(carry, column, i) * splat(left))
