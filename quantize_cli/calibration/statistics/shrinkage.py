"""How far second moments may be trusted: chosen for each matrix by tokens that were left out of them.

Few tokens say little of how many columns go together. Rounding with error feedback predicts each column's error from
others, and follows chance where it trusts them. So do weights that are changed to make up for inputs that differ from
the float model's. A larger diagonal trusts the columns less; without end nothing is carried, as with an importance
matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quantize_cli.jit.matrices import cholesky, multiply, solve_triangle

SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""What may be added to the diagonal of moments, as a share of its mean."""
_TOLERANCE = 1.05
"""The largest share is taken whose loss is within this of the least: tokens that were left out stand beside those that
were not and are like them, those of other texts less so."""
_FIRST = SHARES.index(0.1)
_SAMPLE = 256
"""Tokens that are looked at, to save time."""
_DIRECTIONS = 64
"""Outputs of which corrections are looked at: sums of all columns with random signs."""


@dataclass(frozen=True)
class LeftOut:
    """Second moments of most tokens, and the other tokens."""

    moments: np.ndarray
    """X^T X (n, n) f64."""
    tokens: np.ndarray
    """X (tokens, n) f32 of the others."""
    shift: np.ndarray | None = None
    """(F - X)^T X (n, n) f64, F being what the float model's matrix is given."""
    missing: np.ndarray | None = None
    """F - X (tokens, n) f32 of the others."""


@dataclass(frozen=True)
class Dampings:
    """What is added to the diagonal of moments, as shares of its mean."""

    rounding: float = SHARES[_FIRST]
    correction: float = SHARES[_FIRST]


def best_dampings(left_out: LeftOut, threads: int) -> Dampings:
    """The shares that lose least on tokens of which the moments know nothing.

    Where columns are rounded one after the other and what each loses is made up for by those behind, the errors are
    E = U R^-1, U being independent rounding errors and R the factor of `feedback.py`: tokens X lose |X R^-T|^2. Where
    weights W become W + W C with C = S (H + share)^-1, S being the shift, tokens lose |W (F - X) - W C X|^2.
    """
    if not left_out.moments.diagonal().mean() or not len(left_out.tokens):
        return Dampings()
    losses = _Losses(left_out, threads)
    rounding = _largest_near_least(lambda index: losses.at(index)[0])
    if left_out.missing is None or not left_out.missing.any():
        return Dampings(rounding, correction=rounding)
    return Dampings(rounding, _largest_near_least(lambda index: losses.at(index)[1]))


def _largest_near_least(loss: Callable[[int], float]) -> float:
    """The largest share whose loss is near the least, which is looked for from the middle."""
    least = _FIRST
    for step in (1, -1):
        while 0 <= least + step < len(SHARES) and loss(least + step) < loss(least):
            least += step
    largest = least
    while largest + 1 < len(SHARES) and loss(largest + 1) <= _TOLERANCE * loss(least):
        largest += 1
    return SHARES[largest]


@dataclass(frozen=True)
class _Losses:
    """Losses by the numbers of shares, each worked out once. Columns stand from last to first."""

    left_out: LeftOut
    threads: int
    measured: dict[int, tuple[float, float]] = field(default_factory=dict)

    def at(self, index: int) -> tuple[float, float]:
        """What rounding and what a correction loses."""
        if index not in self.measured:
            moments = self.left_out.moments
            damped = moments[::-1, ::-1].copy()
            damped[np.diag_indices(len(damped))] += SHARES[index] * moments.diagonal().mean()
            lower = cholesky(damped, self.threads)
            solved = solve_triangle(lower, self._tokens, self.threads)
            rounding = float(np.square(solved * lower.diagonal()[:, None]).sum())
            self.measured[index] = rounding, self._of_correction(lower, solved)
        return self.measured[index]

    def _of_correction(self, lower: np.ndarray, solved: np.ndarray) -> float:
        """Of H = L L^T and L^-1 X (n, tokens) f64. What a correction adds is S H^-1 X = (L^-1 S^T)^T (L^-1 X)."""
        if self.left_out.shift is None:
            return 0.0
        wanted, missing = self._outputs
        half = solve_triangle(lower, wanted, self.threads)
        return float(np.square(missing - multiply(np.ascontiguousarray(half.T), solved, self.threads)).sum())

    @cached_property
    def _tokens(self) -> np.ndarray:
        return self._sampled(self.left_out.tokens)

    @cached_property
    def _outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Of some outputs, sums of columns with random signs: their products with the shift, and what tokens miss."""
        shift, missing = self.left_out.shift, self.left_out.missing
        assert shift is not None
        assert missing is not None
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (_DIRECTIONS, len(shift)))
        wanted = np.ascontiguousarray(multiply(signs, shift, self.threads).T[::-1])
        backwards = np.ascontiguousarray(signs[:, ::-1])
        return wanted, multiply(backwards, self._sampled(missing), self.threads)

    def _sampled(self, tokens: np.ndarray) -> np.ndarray:
        """Some of the tokens (tokens, n) f32, as columns (n, some) f64."""
        sample = tokens[:: max(1, len(tokens) // _SAMPLE)].astype(np.float64)
        return np.ascontiguousarray(sample[:, ::-1].T)
