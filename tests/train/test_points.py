"""The nearest points of lattices, compared with all points one by one in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quantize_cli import quants  # noqa: E402
from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.quants import Signs  # noqa: E402
from quantize_cli.train.weights.levels import Levels  # noqa: E402
from quantize_cli.train.weights.points import Points  # noqa: E402
from tests.train import starts  # noqa: E402

NEARLY = 2.0**-11
"""Of a weight's square: the last bits of a score hold the number of the point."""
LATTICES = tuple(t for t in starts.SCALED if quants.find(t).lattice)
each_type = pytest.mark.parametrize("type_", LATTICES, ids=lambda t: t.name)


def scaled(type_: GgmlType, groups: int = 6) -> np.ndarray:
    """Weights (groups, group) in eighths of a step, some beyond all points."""
    lattice = quants.find(type_).lattice
    assert lattice is not None
    spread = 8 * np.abs(lattice.points).mean()
    return (np.random.default_rng(0).normal(size=(groups, lattice.group)) * spread).astype(np.float32)


def least_error(points: np.ndarray, run: np.ndarray) -> float:
    return float(np.square(points - run).sum(axis=1).min())


def least_errors(type_: GgmlType, group: np.ndarray) -> np.ndarray:
    """The least square error of each unit of a group; with a fixed product of signs, of the least weight's other."""
    lattice = quants.find(type_).lattice
    assert lattice is not None
    points, units = 8 * lattice.points.astype(np.float64), group.astype(np.float64).reshape(-1, 8)
    if lattice.signs is Signs.NONE:
        halves = np.split(points, lattice.choices)
        by_choice = np.array([[least_error(half, unit) for unit in units] for half in halves])
        return by_choice[by_choice.sum(axis=1).argmin()]
    magnitudes = np.abs(units)
    if lattice.signs is Signs.EVEN:
        for unit, magnitude in zip(units, magnitudes, strict=True):
            if (unit < 0).sum() % 2:
                magnitude[magnitude.argmin()] *= -1
    runs = magnitudes.reshape(len(units), -1, points.shape[1])
    return np.array([sum(least_error(points, run) for run in unit) for unit in runs])


@each_type
def test_no_point_is_much_nearer(type_: GgmlType) -> None:
    weights = scaled(type_)
    lattice = quants.find(type_).lattice
    assert lattice is not None
    with torch.no_grad():
        level = Points(lattice).nearest(torch.from_numpy(weights.copy())).numpy()
    errors = np.square(level - weights.astype(np.float64)).reshape(-1, 8).sum(axis=1)
    expected = np.concatenate([least_errors(type_, group) for group in weights])
    sizes = np.square(weights).reshape(-1, 8).sum(axis=1)
    if lattice.choices > 1:  # a group's kind of points is decided for all its units
        errors, expected, sizes = (part.reshape(len(weights), -1).sum(axis=1) for part in (errors, expected, sizes))
    assert (errors <= expected + NEARLY * sizes).all()
    assert (errors >= expected - NEARLY * sizes).all()


@each_type
def test_a_point_is_the_nearest_to_itself(type_: GgmlType) -> None:
    lattice = quants.find(type_).lattice
    assert lattice is not None
    points = Points(lattice)
    level = points.nearest(torch.from_numpy(scaled(type_)))
    assert torch.equal(points.nearest(level.to(torch.float32)), level)


@each_type
def test_weights_are_moved_until_they_give_their_points(type_: GgmlType) -> None:
    lattice = quants.find(type_).lattice
    assert lattice is not None
    points, weights = Points(lattice), torch.from_numpy(scaled(type_))
    level = points.nearest(weights.flip(0))
    moved = points.within(weights, level, margin=0.3)
    assert torch.equal(points.nearest(moved.clone()), level)
    kept = points.within(moved, level, margin=0.5)
    assert torch.equal(kept, moved)


@pytest.mark.parametrize("type_", [GgmlType.IQ4_NL, GgmlType.Q1_0, GgmlType.Q3_K], ids=lambda t: t.name)
def test_no_level_is_nearer(type_: GgmlType) -> None:
    grid = quants.find(type_).grid
    assert grid is not None
    low, high = grid.levels[0] - 5, grid.levels[-1] + 5
    weights = np.linspace(low, high, 9973).astype(np.float32)
    level = Levels(grid.levels).nearest(torch.from_numpy(weights.copy())).numpy()
    distances = np.abs(grid.levels.astype(np.float64) - weights[:, None])
    assert np.array_equal(np.abs(level - weights.astype(np.float64)), distances.min(axis=1))
