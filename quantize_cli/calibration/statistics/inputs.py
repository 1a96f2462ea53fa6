"""What a method needs to know of the inputs of a matrix, worked out once for all matrices that share them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quantize_cli.calibration.rounding.feedback import factor
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.shrinkage import Dampings, best_dampings
from quantize_cli.jit.matrices import inverse, multiply

_DAMPINGS = Dampings(rounding=0.01, correction=0.05)
"""Where no tokens tell better ones: GPTQ's own, and more where weights are changed, which follows the text closer."""
_PAID = 0.5
"""The share of what a stream is off that the matrix that adds to it is to make up for."""


@dataclass(frozen=True)
class Inputs:
    """Second moments of the inputs of a matrix, scaled to a mean of one on the diagonal."""

    moments: np.ndarray
    """H (n, n) f64, not damped."""
    shift: np.ndarray | None = None
    """(F - X)^T X (n, n) f64 in the same scale, F being the float model's inputs and X the quantized one's; or None."""
    residual: np.ndarray | None = None
    """(G - Y)^T X (rows, n) f64, G and Y being what the product is added to; or None."""
    dampings: Dampings = _DAMPINGS
    """Added to the diagonal of H before anything is rounded for it, or corrected by it."""
    threads: int = 1
    """That work out what follows from these."""

    def prepare(self) -> None:
        """Work out what several threads are about to ask for."""
        assert len(self.damped) == len(self.factors[1])
        if self.shift is not None:
            assert len(self._inverse) == len(self._shift)

    @cached_property
    def damped(self) -> np.ndarray:
        """H (n, n) f32, positive definite."""
        return self._damped(self.dampings.rounding).astype(np.float32)

    @cached_property
    def diagonal(self) -> np.ndarray:
        """(n,) f32: what an error in a column costs where none is made up for."""
        return np.ascontiguousarray(self.damped.diagonal())

    @cached_property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """R (n, n) f32 and D (n,) f32 of `damped`; see feedback.py."""
        return factor(self._damped(self.dampings.rounding), self.threads)

    def corrected(self, weights: np.ndarray, first: int = 0) -> np.ndarray:
        """What best gives, from the quantized model's inputs, what `weights` (rows, n) f32 give from the float's.

        The least-squares solution V of |W F - V X|, drawn towards W (as GPTAQ, Li et al. 2025, and Qronos, Zhang et al.
        2025, aim at). `first` is the number of the first of these rows.
        """
        if self.shift is None:
            return weights
        missing = multiply(weights, self._shift)
        if self.residual is not None:
            missing += np.float32(_PAID) * self.residual[first : first + len(weights)].astype(np.float32)
        corrected: np.ndarray = weights + multiply(missing, self._inverse)
        return corrected

    @cached_property
    def _shift(self) -> np.ndarray:
        assert self.shift is not None
        return self.shift.astype(np.float32)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return inverse(self._damped(self.dampings.correction), self.threads).astype(np.float32)

    def _damped(self, share: float) -> np.ndarray:
        damped = self.moments.copy()
        damped[np.diag_indices(len(damped))] += share
        return damped


def of_moments(moments: Moments) -> Inputs:
    """What the sums say, which are scaled where they are; the same for all columns where no token was seen."""
    scale = moments.second.diagonal().mean()
    if not scale:
        return Inputs(np.eye(len(moments.second)), threads=moments.threads)
    dampings = best_dampings(moments.left_out(), moments.threads)
    for sums in (moments.second, moments.shift, moments.residual):
        if sums is not None:
            sums /= scale
    return Inputs(moments.second, moments.shift, moments.residual, dampings, moments.threads)
