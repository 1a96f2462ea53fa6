"""Intervals by block bootstrap: chunks are resampled with replacement, as tokens of one chunk are not independent.

Each of several texts keeps its number of chunks, and counts as much as the others (a macro average). Percentile
intervals of few blocks are too narrow. They are widened about the estimate by the ratio of Student's t to the normal
distribution, and by n / (n - 1) for the variance (Hesterberg, What Teachers Should Know About the Bootstrap, 2015,
section 4.1).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, sqrt

import numpy as np

from quantize_cli.jit import elementary

_LARGEST_EXPONENT = log(sys.float_info.max)
_DRAWS = 1000
_SEED = 20
_ENDS = (0.025, 0.975)
_NORMAL = 1.959964
_STUDENT = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}
"""The 97.5 % point of Student's t where the expansion below is too inexact."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, which is None with too few chunks."""

    value: float
    interval: tuple[float, float] | None = None


class BlockBootstrap:
    """Resamples of the chunks: the same for every statistic, so that all figures compare."""

    def __init__(self, chunks: Sequence[int], scored: int) -> None:
        """`chunks` of each text, in order, of `scored` tokens each."""
        random = np.random.default_rng(_SEED)
        self._scored = scored
        self._plain = np.concatenate([np.full(count, 1 / (count * len(chunks))) for count in chunks])
        drawn = [random.multinomial(count, np.full(count, 1 / count), _DRAWS) / count for count in chunks]
        self._drawn = np.concatenate(drawn, axis=1) / len(chunks)
        self._widening = _widening(chunks) if min(chunks) > 1 else None

    def mean(self, values: np.ndarray, ends: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
        """The mean of values (chunks, scored); its interval is kept within `ends`."""
        means = values.mean(axis=1, dtype=np.float64)
        return self._estimate(float((self._plain * means).sum()), (self._drawn * means).sum(axis=1), ends)

    def exponential_mean(self, values: np.ndarray) -> Estimate:
        """e to the power of the mean: a perplexity, or a ratio of them."""
        mean = self.mean(values)
        ends = None if mean.interval is None else (exponential(mean.interval[0]), exponential(mean.interval[1]))
        return Estimate(exponential(mean.value), ends)

    def root_mean_square(self, values: np.ndarray) -> Estimate:
        squares = np.square(values).mean(axis=1, dtype=np.float64)
        value = sqrt(float((self._plain * squares).sum()))
        return self._estimate(value, np.sqrt((self._drawn * squares).sum(axis=1)), (0, np.inf))

    def quantiles(self, values: np.ndarray, fractions: Sequence[float]) -> list[Estimate]:
        """The quantile of each fraction, interpolated as in NumPy and llama-perplexity."""
        order = np.argsort(values, axis=None)
        ascending, chunk = values.ravel()[order], order // self._scored
        weight = self._plain[chunk]
        position = (np.cumsum(weight) - weight) / (weight.sum() - weight)
        values_there = np.interp(fractions, position, ascending)
        drawn = self._drawn_quantiles(ascending, chunk, fractions)
        return [
            self._estimate(float(value), column, (0, np.inf))
            for value, column in zip(values_there, drawn.T, strict=True)
        ]

    def _drawn_quantiles(self, ascending: np.ndarray, chunk: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
        """(draws, fractions)."""
        resampled = np.empty((len(self._drawn), len(fractions)))
        for draw, weights in enumerate(self._drawn):
            reached = np.cumsum(weights[chunk])
            positions = np.searchsorted(reached, np.asarray(fractions) * reached[-1])
            resampled[draw] = ascending[np.minimum(positions, len(ascending) - 1)]
        return resampled

    def _estimate(self, value: float, drawn: np.ndarray, ends: tuple[float, float]) -> Estimate:
        if self._widening is None or not np.isfinite(value):
            return Estimate(value)
        low, high = np.quantile(drawn, _ENDS)
        low, high = (value + (end - value) * self._widening for end in (low, high))
        return Estimate(value, (float(max(low, ends[0])), float(min(high, ends[1]))))


def exponential(logarithm: float) -> float:
    """e to this power; infinity, as llama.cpp prints it, for what a broken model reaches."""
    return inf if logarithm >= _LARGEST_EXPONENT else float(elementary.exponential(np.array(logarithm)))


def _widening(chunks: Sequence[int]) -> float:
    """The factor by which a percentile interval is too narrow: the blocks of a text vary about its own mean."""
    freedom = sum(chunks) - len(chunks)
    return _student(freedom) / _NORMAL * sqrt(sum(chunks) / freedom)


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t (Cornish-Fisher expansion, off by less than 0.003 from 5 degrees on)."""
    if freedom in _STUDENT:
        return _STUDENT[freedom]
    z = _NORMAL
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
