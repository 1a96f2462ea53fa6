"""The better search never loses more than the reference, by what it is told errors cost."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration.rounding import better_search
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from tests import distributions
from tests.calibration.naive import GRIDLESS, GRIDS, LATTICES, SUMMED, left, weights

COLUMNS = distributions.COLUMNS


def lost(type_: GgmlType, wanted: np.ndarray, stored: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """Importance times squared errors of each row, added up."""
    costs = np.ones(COLUMNS) if importance is None else importance.astype(np.float64)
    return np.asarray((np.square(left(type_, wanted, stored)) * costs).sum(axis=1))


@pytest.mark.parametrize("costs", distributions.IMPORTANCES)
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "mostly zero groups", "constant"])
@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_no_row_loses_more_than_by_the_reference(type_: GgmlType, kind: str, costs: str) -> None:
    wanted, importance = distributions.weights(kind, 4 * COLUMNS), distributions.importance(costs)
    found = lost(type_, wanted, better_search.encode(type_, wanted, importance), importance)
    assert (found <= lost(type_, wanted, quants.encode(type_, wanted, importance), importance) * (1 + SUMMED)).all()


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "mostly zero groups", "constant"])
@pytest.mark.parametrize("type_", LATTICES, ids=lambda t: t.name)
def test_points_lose_no_more_than_the_references(type_: GgmlType, kind: str) -> None:
    wanted, importance = distributions.weights(kind, 4 * COLUMNS), distributions.importance("random")
    found, plain = (
        lost(type_, wanted, encode(type_, wanted, importance), importance)
        for encode in (better_search.encode, quants.encode)
    )
    assert (found <= plain * (1 + SUMMED)).all()
    assert kind == "constant" or found.sum() < plain.sum()


def test_a_type_that_needs_an_importance_is_refused_without() -> None:
    with pytest.raises(InputError, match="iq2_xxs needs an importance matrix"):
        better_search.encode(GgmlType.IQ2_XXS, weights(1, COLUMNS), None)


BEST = (GgmlType.Q8_0, GgmlType.Q1_0)
"""Nothing is to be gained where errors cost the same in all columns."""


@pytest.mark.parametrize("type_", [type_ for type_ in GRIDS if type_ not in BEST], ids=lambda t: t.name)
def test_something_is_gained(type_: GgmlType) -> None:
    wanted = weights(4, COLUMNS)
    found, plain = (
        lost(type_, wanted, encode(type_, wanted, None), None) for encode in (better_search.encode, quants.encode)
    )
    assert found.sum() < plain.sum()


@pytest.mark.parametrize("type_", GRIDLESS, ids=lambda t: t.name)
def test_a_type_with_neither_is_left_to_the_reference(type_: GgmlType) -> None:
    wanted, importance = weights(2, COLUMNS), distributions.importance("random")
    assert (
        better_search.encode(type_, wanted, importance).tobytes() == quants.encode(type_, wanted, importance).tobytes()
    )


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
@pytest.mark.parametrize("kind", ["huge", "denormal", "one huge value"])
def test_weights_that_halves_cannot_scale_do_no_harm(type_: GgmlType, kind: str) -> None:
    """Where the reference itself writes what is not finite, so may this; nowhere else."""
    wanted = distributions.weights(kind, 2 * COLUMNS)
    with np.errstate(all="ignore"):
        found, plain = (
            quants.decode(type_, encode(type_, wanted, None)) for encode in (better_search.encode, quants.encode)
        )
    assert np.isfinite(found[np.isfinite(plain)]).all()
