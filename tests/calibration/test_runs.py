"""Points of a lattice are chosen for eight weights together, as the formulas have it."""

from dataclasses import fields

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.rounding.vector_codes import RunCodes, lattice_of, reference_codes
from quantize_cli.calibration.rounding.vectors import UNIT
from quantize_cli.calibration.statistics.inputs import _DAMPINGS, Inputs
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants import Lattice, Signs
from tests import distributions
from tests.calibration.naive import DECODED, LATTICES, SUMMED, costs, left, moments, targets, weights

ROWS, COLUMNS = 2, 512
EVENLY = np.ones(COLUMNS, np.float32)
AS_GOOD = 1e-3
"""Relative: a unit's cost is added up in float32 from terms that cancel."""
DRIFT = 1e-4
"""Of the largest at the beginning: gradients are kept up to date through some hundred changes in float32."""
ARRAYS = [field.name for field in fields(RunCodes) if field.name != "type"]
MASKS = {
    "codes": (windows.CODES, {"point", "sign", "value"}), "scale codes": (windows.SCALE_CODES, {"scale_code"}),
    "scales": (windows.SCALES, {"scale"}), "all": (windows.ALL, set(ARRAYS)),
}  # fmt: skip
each_type = pytest.mark.parametrize("type_", LATTICES, ids=lambda t: t.name)


# --- what stands for a row -------------------------------------------------------------------------------------------


@each_type
def test_what_the_reference_chooses_is_packed_as_it_packs_it(type_: GgmlType) -> None:
    wanted, importance = weights(3, distributions.COLUMNS), distributions.importance("random")
    assert (
        reference_codes(type_, wanted, importance).pack().tobytes()
        == quants.encode(type_, wanted, importance).tobytes()
    )


@each_type
def test_weights_are_those_of_a_decoder(type_: GgmlType) -> None:
    codes = reference_codes(type_, weights(3, COLUMNS), EVENLY)
    decoded = quants.decode(type_, codes.pack())
    assert np.abs(codes.weights() - decoded).max() <= DECODED * np.abs(decoded).max()


@each_type
def test_windows_side_by_side_are_the_whole(type_: GgmlType) -> None:
    whole = reference_codes(type_, weights(3, COLUMNS), EVENLY)
    parts = [whole.columns(window) for window in windows.windows(COLUMNS, type_)]
    assert len(parts) == 2
    assert windows.pack_windows(parts).tobytes() == whole.pack().tobytes()
    for name in ARRAYS:
        getattr(parts[0], name)[:] = 0
    assert windows.pack_windows([whole]).tobytes() != windows.pack_windows(parts).tobytes()


def test_other_types_have_no_lattice() -> None:
    with pytest.raises(ValueError, match="q4_k has no points"):
        lattice_of(GgmlType.Q4_K)


# --- the naive twin ---------------------------------------------------------------------------------------------------


def metrics(carry: np.ndarray, conditional: np.ndarray) -> list[np.ndarray]:
    """What an error in each unit costs once all columns behind have made up for it: L D L^T, f64."""
    found = []
    for first in range(0, len(carry), UNIT):
        unit = slice(first, first + UNIT)
        inner = carry[unit, unit].astype(np.float64)
        found.append(inner @ np.diag(conditional[unit].astype(np.float64)) @ inner.T)
    return found


def goals(wanted: np.ndarray, error: np.ndarray, carry: np.ndarray) -> np.ndarray:
    """What would cost nothing in each unit, given the errors of the units before: w + f L^-1, f64."""
    found = wanted.astype(np.float64)
    for first in range(0, wanted.shape[1], UNIT):
        unit = slice(first, first + UNIT)
        owed = error[:, :first].astype(np.float64) @ carry[:first, unit].astype(np.float64)
        found[:, unit] += owed @ np.linalg.inv(carry[unit, unit].astype(np.float64))
    return found


def rounded(goal: np.ndarray, metric: np.ndarray, lattice: Lattice, lawful: range) -> np.ndarray:
    """A goal (8,) in steps, rounded: signs as they are wanted, then a point for each run, the first chosen twice."""
    signs = np.where((goal < 0) & (lattice.signs is not Signs.NONE), -1.0, 1.0)
    if lattice.signs is Signs.EVEN and np.prod(signs) < 0:
        signs[np.argmin(np.square(goal.astype(np.float32)) * metric.diagonal().astype(np.float32))] *= -1
    points, length = lattice.points[lawful.start : lawful.stop].astype(np.float64), lattice.points.shape[1]
    chosen = goal.copy()
    for first in (0, 4, 0) if length == 4 else (0,):
        run = slice(first, first + length)
        tried = np.repeat(chosen[None], len(points), axis=0)
        tried[:, run] = points * signs[run]
        chosen = tried[np.argmin(np.einsum("pi,ij,pj->p", goal - tried, metric, goal - tried))]
    return chosen


@each_type
def test_each_unit_costs_no_more_than_the_naive_twins(type_: GgmlType) -> None:
    wanted, inputs = weights(1, COLUMNS), Inputs(moments(COLUMNS))
    parts, error = windows.with_feedback(type_, wanted, inputs)
    carry, conditional = inputs.factors
    goal, lattice = goals(wanted, error, carry)[0], lattice_of(type_)
    for number, metric in enumerate(metrics(carry, conditional)):
        unit = slice(number * UNIT, (number + 1) * UNIT)
        codes = parts[unit.start // 256]
        assert isinstance(codes, RunCodes)
        at = unit.start % 256
        step = float(codes.step[0, at // lattice.group])
        share = len(lattice.points) // lattice.choices
        low = int(codes.point[0, at // lattice.points.shape[1]]) // share * share
        missed = [
            goal[unit] - each
            for each in (
                wanted[0, unit] - error[0, unit],
                step * rounded(goal[unit] / step, metric, lattice, range(low, low + share)),
            )
        ]
        found, expected = (each @ metric @ each for each in missed)
        assert found <= expected * (1 + AS_GOOD), number


@each_type
def test_what_units_lose_by_their_goals_is_what_rows_lose_by_their_inputs(type_: GgmlType) -> None:
    """Sum over units of (t - q) L D L^T (t - q)^T == E H E^T, which makes rounding to the nearest the thing to do."""
    wanted, inputs = weights(ROWS, COLUMNS), Inputs(moments(COLUMNS))
    _, error = windows.with_feedback(type_, wanted, inputs)
    carry, conditional = inputs.factors
    missed = goals(wanted, error, carry) - (wanted.astype(np.float64) - error)
    found = sum(
        costs(missed[:, UNIT * number : UNIT * (number + 1)], metric)
        for number, metric in enumerate(metrics(carry, conditional))
    )
    assert np.allclose(found, costs(error, inputs.damped), rtol=1e-5)  # R, D and H are kept in float32
    columns = targets(wanted, error, carry) - (wanted.astype(np.float64) - error)
    assert np.allclose(found, np.square(columns) @ conditional.astype(np.float64), rtol=1e-5)


@each_type
def test_the_error_is_what_is_lost_in_the_file(type_: GgmlType) -> None:
    wanted = weights(ROWS, COLUMNS)
    parts, error = windows.with_feedback(type_, wanted, Inputs(moments(COLUMNS)))
    assert np.abs(error - left(type_, wanted, windows.pack_windows(parts))).max() <= DECODED * np.abs(wanted).max()


@each_type
def test_scales_are_the_references_for_what_is_to_be_rounded(type_: GgmlType) -> None:
    wanted = weights(ROWS, 256)
    importance = np.random.default_rng(2).uniform(0.5, 1.5, 256)
    (codes,), _ = windows.with_feedback(type_, wanted, Inputs(np.diag(importance - _DAMPINGS.rounding)))
    chosen = reference_codes(type_, wanted, importance.astype(np.float32))
    assert isinstance(codes, RunCodes)
    assert np.array_equal(codes.scale, chosen.scale)
    assert np.array_equal(codes.scale_code, chosen.scale_code)


@each_type
def test_a_group_of_zeros_does_no_harm(type_: GgmlType) -> None:
    wanted = weights(ROWS, COLUMNS)
    wanted[:, 32:64] = 0
    _, error = windows.with_feedback(type_, wanted, Inputs(np.eye(COLUMNS)))
    assert np.isfinite(error).all()
    assert np.abs(error[:, 32:64]).max() <= 2.0**-3 * np.abs(wanted).max()


# --- descent ----------------------------------------------------------------------------------------------------------


class Descended:
    """The codes of a window before and after, its error and gradient."""

    def __init__(self, type_: GgmlType, changing: int) -> None:
        self.type, self.wanted, self.moments = type_, weights(3, 256), moments(256).astype(np.float32)
        (codes,), self.error = windows.without_feedback(type_, self.wanted, EVENLY[:256])
        assert isinstance(codes, RunCodes)
        self.codes, self.gradient = codes, self.error @ self.moments
        self.first_gradient, self.first = self.gradient.copy(), self.cost()
        self.before = {name: getattr(codes, name).copy() for name in ARRAYS}
        codes.descend(self.gradient, self.moments, self.error, changing)

    def cost(self) -> np.ndarray:
        """Of each row, from the bytes that would be written."""
        return costs(self.left(), self.moments)

    def left(self) -> np.ndarray:
        return left(self.type, self.wanted, self.codes.pack())


@pytest.mark.parametrize("mask", MASKS)
@each_type
def test_the_error_falls_by_what_may_change(type_: GgmlType, mask: str) -> None:
    changing, names = MASKS[mask]
    descended = Descended(type_, changing)
    assert (descended.cost() <= descended.first * (1 + SUMMED)).all()
    changed = {name for name in ARRAYS if not np.array_equal(descended.before[name], getattr(descended.codes, name))}
    assert changed
    assert changed <= names


@each_type
def test_error_and_gradient_are_kept_up_to_date(type_: GgmlType) -> None:
    descended = Descended(type_, windows.ALL)
    assert np.abs(descended.error - descended.left()).max() <= DECODED * np.abs(descended.wanted).max()
    expected = descended.left() @ descended.moments
    assert np.abs(descended.gradient - expected).max() <= DRIFT * np.abs(descended.first_gradient).max()


@each_type
def test_codes_keep_to_their_rules(type_: GgmlType) -> None:
    """Within their ends; an even number of negative signs where seven are stored; the shift of the group."""
    codes, lattice = Descended(type_, windows.ALL).codes, lattice_of(type_)
    assert lattice.scale_codes[0] <= codes.scale_code.min()
    assert codes.scale_code.max() <= lattice.scale_codes[1]
    assert codes.point.min() >= 0
    assert codes.point.max() < len(lattice.points)
    if lattice.signs is Signs.EVEN:
        assert not (np.unpackbits(codes.sign, axis=1).reshape(-1, UNIT).sum(axis=1) % 2).any()
    if lattice.choices > 1:
        runs = lattice.group // lattice.points.shape[1]
        choice = codes.point.reshape(-1, runs) // (len(lattice.points) // lattice.choices)
        assert (choice == choice[:, :1]).all()


@each_type
def test_zeros_stay_zeros(type_: GgmlType) -> None:
    parts, error = windows.without_feedback(type_, np.zeros((1, 256), np.float32), EVENLY[:256])
    windows.improve(parts, error, np.eye(256, dtype=np.float32), 1)
    assert not quants.decode(type_, windows.pack_windows(parts)).any()


@each_type
def test_columns_that_cost_nothing_do_no_harm(type_: GgmlType) -> None:
    wanted, second = weights(2, 256), np.eye(256, dtype=np.float32)
    second[7, 7] = second[64:96] = 0
    (codes,), error = windows.without_feedback(type_, wanted, EVENLY[:256])
    before = costs(error, second)
    codes.descend(error @ second, second, error, windows.ALL)
    assert (costs(left(type_, wanted, codes.pack()), second) <= before * (1 + SUMMED)).all()
