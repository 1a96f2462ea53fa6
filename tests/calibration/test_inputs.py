"""Weights are changed to make up for inputs that are no longer the float model's, and only for that."""

import numpy as np
import pytest

from quantize_cli.calibration.statistics.inputs import Inputs, of_moments
from quantize_cli.calibration.statistics.moments import Moments
from tests.calibration import naive

COLUMNS, ROWS, TOKENS = 24, 10, 3000
WEIGHTS = naive.weights(ROWS, COLUMNS)


def distorted(inputs: np.ndarray) -> np.ndarray:
    """The same inputs through an invertible matrix."""
    around = np.random.default_rng(3).normal(0, 0.1, (COLUMNS, COLUMNS))
    return (inputs @ (np.eye(COLUMNS) + around)).astype(np.float32)


def of(quantized: np.ndarray, original: np.ndarray | None, residual: np.ndarray | None = None) -> Inputs:
    found = Moments(COLUMNS)
    found.add(quantized, original, residual)
    return of_moments(found)


def off(weights: np.ndarray, inputs: np.ndarray, wanted: np.ndarray, given: np.ndarray) -> float:
    """How large W F - V X is."""
    return float(np.linalg.norm(inputs @ weights.T - given @ wanted.T))


def test_inputs_that_are_the_same_leave_weights_as_they_are() -> None:
    x = naive.tokens(TOKENS, COLUMNS)
    assert np.array_equal(WEIGHTS, of(x, x.copy()).corrected(WEIGHTS))


def test_without_a_float_model_weights_are_as_they_are() -> None:
    assert np.array_equal(WEIGHTS, of(naive.tokens(TOKENS, COLUMNS), None).corrected(WEIGHTS))


def test_a_distortion_is_undone() -> None:
    f = naive.tokens(TOKENS, COLUMNS)
    x = distorted(f)
    wanted = of(x, f).corrected(WEIGHTS)
    assert off(WEIGHTS, f, wanted, x) < 0.25 * off(WEIGHTS, f, WEIGHTS, x)  # not zero, as it is drawn to the weights


def test_what_a_stream_is_off_is_made_up_for() -> None:
    x = naive.tokens(TOKENS, COLUMNS)
    other = np.random.default_rng(4).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    ahead, behind = np.zeros((TOKENS, ROWS), np.float32), 0.01 * x @ other.T
    wanted = of(x, x, ahead - behind).corrected(WEIGHTS)
    before = np.linalg.norm(ahead - behind)
    after = np.linalg.norm(ahead + x @ WEIGHTS.T - behind - x @ wanted.T)
    assert 0.5 < after / before < 0.6  # half of it is paid, a little less where inputs hardly vary


def test_rows_that_are_rounded_later_make_up_for_their_own() -> None:
    random = np.random.default_rng(5)
    x, streams = naive.tokens(TOKENS, COLUMNS), random.normal(size=(2, TOKENS, ROWS)).astype(np.float32)
    inputs = of(x, distorted(x), streams[1] - streams[0])
    apart = [inputs.corrected(WEIGHTS[:4], 0), inputs.corrected(WEIGHTS[4:], 4)]
    assert np.allclose(np.concatenate(apart), inputs.corrected(WEIGHTS), atol=1e-6)  # float32 products of other shapes


@pytest.mark.parametrize("scale", [2.0**-10, 1.0, 2.0**10])
def test_the_size_of_inputs_does_not_matter(scale: float) -> None:
    f = naive.tokens(TOKENS, COLUMNS) * np.float32(scale)
    x = distorted(f)
    found, expected = of(x, f), of(x / np.float32(scale), f / np.float32(scale))
    assert np.isclose(found.moments.diagonal().mean(), 1)
    assert np.allclose(found.corrected(WEIGHTS), expected.corrected(WEIGHTS), atol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens_do_not_keep_moments_from_being_factored(tokens: int) -> None:
    x = naive.tokens(TOKENS, COLUMNS)[:tokens]
    inputs = of(x, distorted(x))
    assert np.isfinite(inputs.factors[0]).all()
    assert (inputs.factors[1] > 0).all()
    assert (inputs.diagonal > 0).all()
    assert np.isfinite(inputs.corrected(WEIGHTS)).all()
