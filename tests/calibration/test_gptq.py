"""gptq loses least by the inputs it is told of, in any type."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration import gptq
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.formats.ggml import GgmlType
from tests.calibration.naive import GRIDLESS, GRIDS, LATTICES, SUMMED, costs, left, moments, weights

ROWS, COLUMNS = 4, 512


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs(moments(COLUMNS))


def cost(type_: GgmlType, wanted: np.ndarray, stored: np.ndarray, inputs: Inputs) -> np.ndarray:
    return costs(left(type_, wanted, stored), inputs.damped)


@pytest.mark.parametrize("type_", [*GRIDS, *LATTICES], ids=lambda t: t.name)
def test_no_row_loses_more_than_by_feedback_alone(type_: GgmlType, inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    fed_back = windows.pack_windows(windows.with_feedback(type_, wanted, inputs)[0])
    found = cost(type_, wanted, gptq.round_rows(type_, wanted, inputs), inputs)
    assert (found <= cost(type_, wanted, fed_back, inputs) * (1 + SUMMED)).all()


@pytest.mark.parametrize("type_", [*GRIDS, *LATTICES, *GRIDLESS], ids=lambda t: t.name)
def test_far_less_is_lost_than_by_the_reference(type_: GgmlType, inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    found = cost(type_, wanted, gptq.round_rows(type_, wanted, inputs), inputs).sum()
    assert found < 0.8 * cost(type_, wanted, quants.encode(type_, wanted, inputs.diagonal), inputs).sum()


@pytest.mark.parametrize("type_", [*GRIDS, *LATTICES, *GRIDLESS], ids=lambda t: t.name)
def test_rows_are_those_of_a_file(type_: GgmlType, inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    found, expected = gptq.round_rows(type_, wanted, inputs), quants.encode(type_, wanted, inputs.diagonal)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.Q4_K, GgmlType.IQ2_XS, GgmlType.MXFP4], ids=lambda t: t.name)
def test_rows_are_rounded_alone_as_among_others(type_: GgmlType, inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    together = gptq.round_rows(type_, wanted, inputs)
    alone = np.concatenate([gptq.round_rows(type_, row[None], inputs) for row in wanted])
    assert np.array_equal(alone, together)


def test_weights_are_left_as_they_are(inputs: Inputs) -> None:
    wanted = weights(ROWS, COLUMNS)
    gptq.round_rows(GgmlType.Q4_0, wanted, inputs)
    assert np.array_equal(weights(ROWS, COLUMNS), wanted)
