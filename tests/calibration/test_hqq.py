"""hqq lessens what it says it lessens, and never leaves a row worse than the reference does."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration import hqq
from quantize_cli.formats.ggml import GgmlType
from tests import distributions
from tests.calibration.naive import GRIDLESS, GRIDS, left, weights

NORM = 0.7
CLOSE = 1e-4
"""Relative: of two roundings that are as good to float32 either may be taken, and small errors to a power are large."""


def norms(type_: GgmlType, wanted: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The sum of |error|^p of each row."""
    return np.asarray((np.abs(left(type_, wanted, stored)) ** NORM).sum(axis=1))


@pytest.mark.parametrize("kind", ["student", "normal", "constant", "zero", "mostly zero groups"])
@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_no_row_is_worse_in_the_norm(type_: GgmlType, kind: str) -> None:
    wanted = distributions.weights(kind, 4 * distributions.COLUMNS)
    found, plain = hqq.encode(type_, wanted), quants.encode(type_, wanted)
    assert found.shape == plain.shape
    slack = CLOSE * distributions.COLUMNS * np.abs(wanted).max() ** NORM * 2.0 ** (-24 * NORM)
    assert (norms(type_, wanted, found) <= norms(type_, wanted, plain) * (1 + CLOSE) + slack).all()


@pytest.mark.parametrize("type_", [GgmlType.Q2_K, GgmlType.Q4_K, GgmlType.Q4_1, GgmlType.Q5_1], ids=lambda t: t.name)
def test_minima_are_found_that_fit_most_weights_better(type_: GgmlType) -> None:
    wanted = distributions.weights("student", 8 * distributions.COLUMNS)
    gained = norms(type_, wanted, hqq.encode(type_, wanted)) / norms(type_, wanted, quants.encode(type_, wanted))
    assert gained.mean() < 0.995


@pytest.mark.parametrize("costs", ["none", "random"])
@pytest.mark.parametrize("type_", GRIDLESS, ids=lambda t: t.name)
def test_a_type_without_a_grid_is_left_to_the_reference(type_: GgmlType, costs: str) -> None:
    importance = distributions.importance(costs)
    if importance is None and quants.find(type_).needs_importance:
        pytest.skip("cannot do without an importance")
    wanted = weights(2, distributions.COLUMNS)
    assert hqq.encode(type_, wanted, importance).tobytes() == quants.encode(type_, wanted, importance).tobytes()


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_weights_too_large_for_halves_do_no_harm(type_: GgmlType) -> None:
    wanted = distributions.weights("huge", 2 * distributions.COLUMNS)
    with np.errstate(all="ignore"):
        found, plain = (quants.decode(type_, encode(type_, wanted)) for encode in (hqq.encode, quants.encode))
    assert np.isfinite(found[np.isfinite(plain)]).all()
