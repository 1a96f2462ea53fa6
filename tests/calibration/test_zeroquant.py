"""zeroquant fits scales and minima to the inputs and leaves the codes of weights alone."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration import zeroquant
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.formats.ggml import GgmlType
from tests.calibration.naive import GRIDLESS, GRIDS, LATTICES, SUMMED, costs, left, moments, weights

ROWS, COLUMNS = 4, 512


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs(moments(COLUMNS))


@pytest.mark.parametrize("type_", [*GRIDS, *LATTICES], ids=lambda t: t.name)
def test_codes_are_the_references_and_scales_are_better(type_: GgmlType, inputs: Inputs) -> None:
    wanted, quant = weights(ROWS, COLUMNS), quants.find(type_)
    found, plain = zeroquant.round_rows(type_, wanted, inputs), quants.encode(type_, wanted, inputs.diagonal)
    codes, expected = (quant.unpack(stored.reshape(-1).view(quant.block)) for stored in (found, plain))
    kept = "code" if type_ in GRIDS else "point"
    assert np.array_equal(expected[kept], codes[kept])
    before, after = (costs(left(type_, wanted, stored), inputs.damped) for stored in (plain, found))
    assert (after <= before * (1 + SUMMED)).all()
    assert after.sum() < before.sum()


@pytest.mark.parametrize("type_", GRIDLESS, ids=lambda t: t.name)
def test_a_type_with_neither_is_left_to_the_reference(type_: GgmlType, inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    expected = quants.encode(type_, wanted, inputs.diagonal)
    assert zeroquant.round_rows(type_, wanted, inputs).tobytes() == expected.tobytes()
