"""Codes by rows hold what the reference chose, and become the bytes it writes."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.rounding.level_codes import grid_of, has_grid, reference_codes
from quantize_cli.formats.ggml import GgmlType
from tests import distributions
from tests.calibration.naive import DECODED, GRIDLESS, GRIDS, weights


@pytest.mark.parametrize("costs", ["none", "random"])
@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_what_the_reference_chooses_is_packed_as_it_packs_it(type_: GgmlType, costs: str) -> None:
    wanted, importance = weights(3, distributions.COLUMNS), distributions.importance(costs)
    assert (
        reference_codes(type_, wanted, importance).pack().tobytes()
        == quants.encode(type_, wanted, importance).tobytes()
    )


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_weights_are_those_of_a_decoder(type_: GgmlType) -> None:
    codes = reference_codes(type_, weights(3, 512), None)
    decoded = quants.decode(type_, codes.pack())
    assert np.abs(codes.weights() - decoded).max() <= DECODED * np.abs(decoded).max()


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_windows_side_by_side_are_the_whole(type_: GgmlType) -> None:
    whole = reference_codes(type_, weights(3, 768), None)
    parts = [whole.columns(window) for window in windows.windows(768, type_)]
    assert len(parts) == 3
    assert windows.pack_windows(parts).tobytes() == whole.pack().tobytes()


def test_a_window_is_a_copy() -> None:
    whole = reference_codes(GgmlType.Q4_K, weights(1, 512), None)
    before = whole.pack()
    part = whole.columns(slice(0, 256))
    for values in (part.scale, part.minimum, part.scale_code, part.minimum_code, part.level):
        values += 1
    assert np.array_equal(before, whole.pack())


@pytest.mark.parametrize("columns", [32, 256, 320])
def test_windows_cover_all_columns_in_whole_blocks(columns: int) -> None:
    found = list(windows.windows(columns, GgmlType.Q4_0))
    assert [i for window in found for i in range(window.start, window.stop)] == list(range(columns))
    assert all(window.start % 32 == 0 for window in found)


@pytest.mark.parametrize("type_", GRIDLESS, ids=lambda t: t.name)
def test_types_without_a_grid_are_known_for_it(type_: GgmlType) -> None:
    assert not has_grid(type_)
    with pytest.raises(ValueError, match=f"{type_.name.lower()} has no levels"):
        grid_of(type_)
