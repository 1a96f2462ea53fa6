"""Scores predictions on the observed tokens, and against those of a reference, position by position.

The exponentials are float32, sixteen at once; all sums over a vocabulary are float64. A divergence is within about
3e-8 of one in float64 throughout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from quantize_cli.formats.reference import Predictions
from quantize_cli.jit.elementary import exponential, logarithm
from quantize_cli.runtime.kernels.exponential import exponentials

_LOGITS = 1 << 18
"""Computed at once: 1 MiB, which stays in a core's cache. 255 rows of 32,000 take 30 ms per pair of models."""


@dataclass(frozen=True)
class TokenComparison:
    """One model's predictions compared with the reference's, at positions (n,) or (chunks, n)."""

    nll: np.ndarray
    """-ln p of the observed token, by the reference; f64."""
    divergence: np.ndarray
    """Kullback-Leibler divergence of the model from the reference: sum of p (ln p - ln q) over the vocabulary, f64."""
    same_top_token: np.ndarray
    """Whether both have the same most likely token; bool."""
    divergence_error: np.ndarray
    """Bound of the divergence's error, as the reference is stored in few bits; f64, NaN without a bound."""


class _Normalized(NamedTuple):
    shifted: np.ndarray
    """(n, vocabulary) f32; the largest of a row is zero."""
    exp_shifted: np.ndarray
    """exp of `shifted`."""
    log_sum: np.ndarray
    """(n,) f64: ln of the sum of `exp_shifted`."""


def nlls(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """-ln p (n,) f64 of the observed tokens (n,), from logits (n, vocabulary) f32."""
    step = max(1, _LOGITS // logits.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate([
            _nll(_normalized(logits[start : start + step]), tokens[start : start + step])
            for start in range(0, len(tokens), step)
        ])  # fmt: skip


def compare(logits: np.ndarray, reference: Predictions, tokens: np.ndarray) -> tuple[np.ndarray, TokenComparison]:
    """-ln p (n,) f64 of the observed tokens (n,), and the model's predictions compared with the reference's."""
    step = max(1, _LOGITS // logits.shape[1])
    parts = []
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(tokens), step):
            part = slice(start, start + step)
            parts.append(_compare(logits[part], reference, part, tokens[part]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], TokenComparison(*columns[1:])


def _compare(logits: np.ndarray, reference: Predictions, part: slice, tokens: np.ndarray) -> tuple[np.ndarray, ...]:
    base = _normalized(reference.logits[part])
    if reference.are_log_probabilities:
        base = base._replace(log_sum=-reference.logits[part].max(axis=1).astype(np.float64))
    model = _normalized(logits)
    nll = _nll(model, tokens)
    base_nll = _nll(base, tokens) if reference.nll is None else reference.nll[part]
    # ln p - ln q = (base.shifted - base.log_sum) - (model.shifted - model.log_sum)
    apart = base.shifted - model.shifted
    offset, scale = model.log_sum - base.log_sum, exponential(-base.log_sum)
    mass = base.exp_shifted.sum(axis=1, dtype=np.float64) * scale
    divergence = _dot(base.exp_shifted, apart) * scale + mass * offset
    same_top_token = base.shifted.argmax(axis=1) == model.shifted.argmax(axis=1)
    divergence_error = _slack(base, apart + offset.astype(np.float32)[:, None], reference, part)
    return nll, base_nll, divergence, same_top_token, divergence_error


def _slack(base: _Normalized, ratios: np.ndarray, reference: Predictions, part: slice) -> np.ndarray:
    """A bound on the divergence's error when ln p of the tokens not `exact` is known to a half step h, and their sum m.

    With stored probabilities r for p, |ln p/r| <= 2h there. The error is the sum of (p - r) ln r/q, which is at most
    (exp(2h) - 1) times the sum of r |ln r/q|, plus that of p ln p/r, at most m h**2 / 2 (Hoeffding's lemma).
    """
    if reference.are_log_probabilities:
        return np.full(len(ratios), np.nan)
    if reference.half_steps is None or reference.exact is None:
        return np.zeros(len(ratios))
    half, exact = reference.half_steps[part], reference.exact[part]
    scale = exponential(-base.log_sum)
    exp_shifted = base.exp_shifted.copy()
    np.put_along_axis(exp_shifted, exact, 0, axis=1)
    mass = exp_shifted.sum(axis=1, dtype=np.float64) * scale
    weighted: np.ndarray = _dot(exp_shifted, np.abs(ratios)) * scale
    bound: np.ndarray = np.expm1(2 * half) * weighted + mass * half * half / 2
    return bound


def _normalized(logits: np.ndarray) -> _Normalized:
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp_shifted = exponentials(shifted)
    return _Normalized(shifted, exp_shifted, logarithm(exp_shifted.sum(axis=1, dtype=np.float64)))


def _nll(rows: _Normalized, tokens: np.ndarray) -> np.ndarray:
    observed = np.take_along_axis(rows.shifted, tokens[:, None], axis=1)[:, 0]
    return rows.log_sum - observed.astype(np.float64)


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dot products of rows, summed in float64."""
    sums: np.ndarray = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return sums
