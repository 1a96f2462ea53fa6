"""Each column is rounded to what is nearest to itself and what the columns before it left."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.rounding.feedback import factor
from quantize_cli.calibration.rounding.level_codes import Codes, reference_codes
from quantize_cli.calibration.statistics.inputs import _DAMPINGS, Inputs
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from tests.calibration.naive import DECODED, GRIDLESS, GRIDS, costs, left, moments, nearest, targets, weights

ROWS, COLUMNS = 2, 512
"""Two windows, so that what one leaves reaches the other."""
FACTORED = 1e-6
"""Relative: factors are worked out in float64 and kept in float32."""
AS_NEAR = 1e-5
"""Of the largest weight: targets are added up in float32, from some hundred errors."""


def levels(codes: list[Codes], row: int) -> list[np.ndarray]:
    """All that each column of a row could have been rounded to."""
    found = []
    for part in codes:
        step, offset = part.step[row], part.offset[row]
        found += [step[k // part.grid.group] * part.grid.levels + offset[k // part.grid.group]
                  for k in range(part.level.shape[1])]  # fmt: skip
    return found


def assert_nearest(codes: list[Codes], error: np.ndarray, wanted: np.ndarray, target: np.ndarray) -> None:
    """Each column is as near to its target as any level would be."""
    rounded = wanted.astype(np.float64) - error
    for row in range(len(wanted)):
        best = [nearest(*pair) for pair in zip(target[row], levels(codes, row), strict=True)]
        assert (np.abs(target[row] - rounded[row]) <= np.array(best) + AS_NEAR * np.abs(wanted).max()).all()


def test_factors_multiply_to_the_moments() -> None:
    second = moments(40)
    carry, conditional = factor(second)
    product = carry.astype(np.float64) @ np.diag(conditional.astype(np.float64)) @ carry.T
    assert np.abs(product - second).max() <= FACTORED * np.abs(second).max()


def test_a_factor_is_upper_with_ones_on_its_diagonal() -> None:
    carry, conditional = factor(moments(40))
    assert np.array_equal(np.triu(carry), carry)
    assert np.array_equal(carry.diagonal(), np.ones(40))
    assert (conditional > 0).all()


def test_moments_that_are_not_positive_definite_have_no_factors() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factor(-np.eye(3))


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_columns_are_rounded_to_what_is_nearest_their_targets(type_: GgmlType) -> None:
    wanted, inputs = weights(ROWS, COLUMNS), Inputs(moments(COLUMNS))
    codes, error = windows.with_feedback(type_, wanted, inputs)
    assert_nearest(codes, error, wanted, targets(wanted, error, inputs.factors[0]))


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_the_error_is_what_is_lost_in_the_file(type_: GgmlType) -> None:
    wanted = weights(ROWS, COLUMNS)
    codes, error = windows.with_feedback(type_, wanted, Inputs(moments(COLUMNS)))
    expected = left(type_, wanted, windows.pack_windows(codes))
    assert np.abs(error - expected).max() <= DECODED * np.abs(wanted).max()


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.Q4_K, GgmlType.IQ4_XS], ids=lambda t: t.name)
def test_what_columns_lose_by_their_targets_is_what_rows_lose_by_their_inputs(type_: GgmlType) -> None:
    """Sum over k of D_k (t_k - q_k)^2 == E H E^T, which makes rounding to the nearest target the thing to do."""
    wanted, inputs = weights(ROWS, COLUMNS), Inputs(moments(COLUMNS))
    _, error = windows.with_feedback(type_, wanted, inputs)
    carry, conditional = inputs.factors
    missed = targets(wanted, error, carry) - (wanted.astype(np.float64) - error)
    found = np.sum(conditional * np.square(missed), axis=1)
    assert np.allclose(found, costs(error, inputs.damped), rtol=1e-5)  # R, D and H are kept in float32


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_columns_that_vary_apart_are_rounded_apart(type_: GgmlType) -> None:
    wanted = weights(ROWS, COLUMNS)
    importance = np.random.default_rng(2).uniform(0.5, 1.5, COLUMNS)
    codes, error = windows.with_feedback(type_, wanted, Inputs(np.diag(importance - _DAMPINGS.rounding)))
    for found, window in zip(codes, windows.windows(COLUMNS, type_), strict=True):
        chosen = reference_codes(type_, wanted[:, window], importance[window].astype(np.float32))
        for name in ("scale", "minimum", "scale_code", "minimum_code"):
            assert np.array_equal(getattr(found, name), getattr(chosen, name)), name
    assert_nearest(codes, error, wanted, wanted.astype(np.float64))


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_a_group_without_a_scale_is_rounded_to_its_minimum(type_: GgmlType) -> None:
    wanted = weights(ROWS, COLUMNS)
    wanted[:, 256:] = 0
    _, error = windows.with_feedback(type_, wanted, Inputs(np.eye(COLUMNS)))
    assert np.isfinite(error).all()
    assert np.abs(error[:, 256:]).max() <= 2.0**-4 * np.abs(wanted).max()


@pytest.mark.parametrize("type_", GRIDLESS, ids=lambda t: t.name)
def test_without_codes_of_ones_own_errors_are_carried_between_blocks(type_: GgmlType) -> None:
    """Each block is the reference's for what would cost nothing, given what the blocks before it lost."""
    wanted, inputs = weights(ROWS, COLUMNS), Inputs(moments(COLUMNS))
    stored = windows.carried_between_blocks(type_, wanted, inputs)
    carry, conditional = inputs.factors
    error, shape = left(type_, wanted, stored), BLOCK_SHAPE[type_]
    for number, start in enumerate(range(0, COLUMNS, shape.weights)):
        block = slice(start, start + shape.weights)
        inner, owed = carry[block, block].astype(np.float64), error[:, :start] @ carry[:start, block]
        target = wanted[:, block] + owed @ np.linalg.inv(inner)
        cost = (np.square(inner) @ conditional[block]).astype(np.float32)
        expected = quants.decode(type_, quants.encode(type_, target.astype(np.float32), cost))
        found = quants.decode(type_, stored[:, number * shape.nbytes : (number + 1) * shape.nbytes])
        assert np.mean(found != expected) < 0.05  # sums in float32 may fall on the other side of an edge
