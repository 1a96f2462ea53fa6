"""Changing one number at a time lessens the error, and changes nothing else."""

from dataclasses import fields

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.rounding.level_codes import Codes, grid_of
from quantize_cli.formats.ggml import GgmlType
from tests.calibration.naive import DECODED, GRIDS, SUMMED, costs, left, moments, weights

ROWS, COLUMNS = 3, 256
MASKS = {
    "codes": windows.CODES, "scale codes": windows.SCALE_CODES, "scales": windows.SCALES, "all": windows.ALL,
}  # fmt: skip
CHANGED = {
    "codes": {"level"}, "scale codes": {"scale_code", "minimum_code"}, "scales": {"scale", "minimum"},
    "all": {"level", "scale_code", "minimum_code", "scale", "minimum"},
}  # fmt: skip
ARRAYS = [field.name for field in fields(Codes) if field.name != "type"]
DRIFT = 1e-4
"""Of the largest at the beginning: gradients are kept up to date through some hundred changes in float32."""


class Descended:
    """The codes of a window before and after, its error and gradient."""

    def __init__(self, type_: GgmlType, changing: int) -> None:
        self.type, self.wanted, self.moments = type_, weights(ROWS, COLUMNS), moments(COLUMNS).astype(np.float32)
        (self.codes,), self.error = windows.without_feedback(type_, self.wanted, None)
        self.gradient = self.error @ self.moments
        self.first_gradient = self.gradient.copy()
        self.before = {name: getattr(self.codes, name).copy() for name in ARRAYS}
        self.first = self.cost()
        self.codes.descend(self.gradient, self.moments, self.error, changing)

    def cost(self) -> np.ndarray:
        """Of each row, from the bytes that would be written."""
        return costs(self.left(), self.moments)

    def left(self) -> np.ndarray:
        return left(self.type, self.wanted, self.codes.pack())


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_the_error_of_no_row_grows(type_: GgmlType, mask: str) -> None:
    descended = Descended(type_, MASKS[mask])
    assert (descended.cost() <= descended.first * (1 + SUMMED)).all()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_only_what_may_change_changes(type_: GgmlType, mask: str) -> None:
    descended = Descended(type_, MASKS[mask])
    changed = {name for name in ARRAYS if not np.array_equal(descended.before[name], getattr(descended.codes, name))}
    assert changed <= CHANGED[mask]
    grid = grid_of(type_)
    assert bool(changed) is (mask != "scale codes" or grid.scale_codes is not None)


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_error_and_gradient_are_kept_up_to_date(type_: GgmlType) -> None:
    descended = Descended(type_, windows.ALL)
    assert np.abs(descended.error - descended.left()).max() <= DECODED * np.abs(descended.wanted).max()
    expected = descended.left() @ descended.moments
    assert np.abs(descended.gradient - expected).max() <= DRIFT * np.abs(descended.first_gradient).max()


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_codes_stay_within_their_ends(type_: GgmlType) -> None:
    """Moments that all but demand one weight of each column drive codes as far as they go."""
    codes, grid = Descended(type_, windows.ALL).codes, grid_of(type_)
    assert codes.level.max() < len(grid.levels)
    for found, ends in ((codes.scale_code, grid.scale_codes), (codes.minimum_code, grid.minimum_codes)):
        if ends is not None:
            assert ends[0] <= found.min()
            assert found.max() <= ends[1]


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_a_column_that_costs_nothing_keeps_its_code(type_: GgmlType) -> None:
    wanted, second = weights(ROWS, COLUMNS), np.eye(COLUMNS, dtype=np.float32)
    second[7, 7] = 0
    (codes,), error = windows.without_feedback(type_, wanted, None)
    before = codes.level.copy()
    codes.descend(error @ second, second, error, windows.CODES)
    assert np.array_equal(before[:, 7], codes.level[:, 7])


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_zeros_stay_zeros(type_: GgmlType) -> None:
    wanted = np.zeros((1, COLUMNS), np.float32)
    parts, error = windows.without_feedback(type_, wanted, None)
    windows.improve(parts, error, np.eye(COLUMNS, dtype=np.float32), 1)
    assert not quants.decode(type_, windows.pack_windows(parts)).any()


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.Q4_K], ids=lambda t: t.name)
def test_windows_are_improved_in_view_of_each_other(type_: GgmlType) -> None:
    """Of two windows whose inputs are the same, one can make up for what the other loses."""
    wanted, half = weights(ROWS, 512), moments(256)
    second = (np.block([[half, half], [half, half]]) + 0.01 * np.eye(512)).astype(np.float32)
    parts, error = windows.without_feedback(type_, wanted, None)
    apart = parts[0].columns(slice(0, 256)), parts[1].columns(slice(0, 256))
    for codes, window in zip(apart, windows.windows(512, type_), strict=True):
        own, rest = np.ascontiguousarray(second[window, window]), np.ascontiguousarray(error[:, window])
        codes.descend(rest @ own, own, rest, windows.ALL)
    windows.improve(parts, error, second, 1)
    found, expected = (left(type_, wanted, windows.pack_windows(each)) for each in (parts, apart))
    assert costs(found, second).sum() < 0.7 * costs(expected, second).sum()
    assert np.abs(error - found).max() <= DECODED * np.abs(wanted).max()
