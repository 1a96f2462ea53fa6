"""How far second moments may be trusted: chosen for each matrix by tokens that were left out of them.

Few tokens say little of how many columns go together. Rounding with error feedback predicts each column's error from
others, and follows chance where it trusts them. A larger diagonal trusts them less; without end nothing is carried, as
with an importance matrix.
"""

import numpy as np

from quantize_cli.jit.matrices import cholesky, solve_triangle

SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""What may be added to the diagonal of moments, as a share of its mean."""
_TOLERANCE = 1.05
"""The largest share whose error is within this of the least: neighbouring tokens are alike, texts of others less so."""
_SAMPLE = 512
"""Of those tokens so many are looked at, to save time."""
_FIRST = SHARES.index(0.1)


def best_damping(moments: np.ndarray, held_back: np.ndarray, threads: int) -> float:
    """The share that loses least on tokens `held_back` (tokens, n) f32 of which moments (n, n) f64 know nothing.

    Where columns are rounded one after the other and what each loses is made up for by those behind, the errors are
    E = U R^-1, U being independent rounding errors and R the factor of `feedback.py`. So tokens X lose as much as
    |X R^-T|^2, which is compared for each share.
    """
    scale = moments.diagonal().mean()
    if not scale or not len(held_back):
        return SHARES[_FIRST]
    backwards = np.ascontiguousarray(moments[::-1, ::-1]) / scale
    sample = held_back[:: max(1, len(held_back) // _SAMPLE)]
    tokens = np.ascontiguousarray(sample[:, ::-1].T, np.float64)
    losses: dict[int, float] = {}

    def loss(index: int) -> float:
        if index not in losses:
            losses[index] = _loss(backwards, tokens, SHARES[index], threads)
        return losses[index]

    least = _FIRST
    for step in (1, -1):
        while 0 <= least + step < len(SHARES) and loss(least + step) < loss(least):
            least += step
    largest = least
    while largest + 1 < len(SHARES) and loss(largest + 1) <= _TOLERANCE * loss(least):
        largest += 1
    return SHARES[largest]


def _loss(backwards: np.ndarray, tokens: np.ndarray, share: float, threads: int) -> float:
    """|X R^-T|^2 for tokens (n, tokens) f64, both with their columns from last to first."""
    damped = backwards.copy()
    damped[np.diag_indices(len(damped))] += share
    lower = cholesky(damped, threads)
    left = solve_triangle(lower, tokens, threads) * lower.diagonal()[:, None]
    return float(np.square(left).sum())
