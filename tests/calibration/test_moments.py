"""Sums over tokens are those of all parts."""

import numpy as np
import pytest

from quantize_cli.calibration.statistics.moments import Moments
from tests.calibration import naive

CLOSE = 1e-2
"""Of the largest: activations are rounded to bfloat16."""
X, F = naive.tokens(60, 8, 1), naive.tokens(60, 8, 2)
RESIDUAL = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


def assert_close(expected: np.ndarray, found: np.ndarray | None) -> None:
    assert found is not None
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()


def test_sums_are_those_of_all_parts() -> None:
    found = Moments(8)
    for start, stop in ((0, 7), (7, 7), (7, 40), (40, 60)):
        found.add(X[start:stop], F[start:stop], RESIDUAL[start:stop])
    x, f = X.astype(float), F.astype(float)
    assert found.count == 60
    assert_close(x.T @ x, found.second)
    assert_close((f - x).T @ x, found.shift)
    assert_close(RESIDUAL.T.astype(float) @ x, found.residual)


@pytest.mark.parametrize("original", [None, F])
def test_what_is_not_known_is_not_summed(original: np.ndarray | None) -> None:
    found = Moments(8)
    found.add(X, original)
    assert (found.shift is None) is (original is None)
    assert found.residual is None
