"""A grid says what codes stand for: levels times scales, less or more minima, whatever a decoder does to get there."""

import numpy as np
import pytest

from formats.ggml import GgmlType
from quantize_cli import quants
from quantize_cli.quants import Grid
from quantize_cli.quants._grid import even
from tests.calibrate.naive import GRIDS

ROUNDINGS = 2.0**-22
"""Of the terms: either side rounds up to three float32 products and a sum."""


def codes_of_random_blocks(type_: GgmlType, count: int) -> np.ndarray:
    """Codes of blocks of random bits, but with scales and minima that are numbers.

    Q8_0 alone has a code that is no level, as the reference never gives it.
    """
    quant, random = quants.find(type_), np.random.default_rng(5)
    raw = random.integers(0, 256, (count, quant.block.itemsize), np.uint8)
    codes = quant.unpack(raw.view(quant.block)[:, 0])
    for name in {"scale", "minimum"} & set(codes.dtype.names or ()):
        codes[name] = random.normal(size=count).astype(np.float16)
    if type_ is GgmlType.Q8_0:
        codes["code"] = np.maximum(codes["code"], -127)
    return codes


def term(codes: np.ndarray, whole: str, part: str, count: int) -> np.ndarray:
    """Scale times scale code, or minimum times minimum code, for each of `count` groups, (blocks, groups) f64."""
    names = codes.dtype.names or ()
    values = codes[whole].astype(np.float64)[:, None] if whole in names else np.zeros((len(codes), 1))
    return np.asarray(values * (codes[part] if part in names else np.ones((1, count))))


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_codes_stand_for_what_the_decoder_makes_of_them(type_: GgmlType) -> None:
    quant, codes = quants.find(type_), codes_of_random_blocks(type_, 50)
    grid = quant.grid
    assert grid is not None
    decoded = quant.dequantize(codes)
    groups = decoded.shape[1] // grid.group
    levels = grid.levels[codes["code"].astype(int) - grid.first].astype(np.float64)
    scaled = np.repeat(term(codes, "scale", "scale_code", groups), grid.group, axis=1) * levels
    offset = grid.sign * np.repeat(term(codes, "minimum", "minimum_code", groups), grid.group, axis=1)
    assert (np.abs(decoded - (scaled + offset)) <= ROUNDINGS * (np.abs(scaled) + np.abs(offset))).all()


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_codes_of_scales_and_minima_keep_within_their_ends(type_: GgmlType) -> None:
    codes, grid = codes_of_random_blocks(type_, 2000), quants.find(type_).grid
    assert grid is not None
    for name, ends in (("scale_code", grid.scale_codes), ("minimum_code", grid.minimum_codes)):
        assert (name in (codes.dtype.names or ())) == (ends is not None)
        if ends is not None:
            assert (codes[name].min(), codes[name].max()) == ends
    assert ("minimum" in (codes.dtype.names or ())) == (grid.sign != 0)


@pytest.mark.parametrize("type_", GRIDS, ids=lambda t: t.name)
def test_levels_ascend_and_are_as_many_as_codes(type_: GgmlType) -> None:
    codes, grid = codes_of_random_blocks(type_, 200), quants.find(type_).grid
    assert grid is not None
    assert (np.diff(grid.levels) > 0).all()
    assert (codes["code"].min(), codes["code"].max()) == (grid.first, grid.first + len(grid.levels) - 1)


def test_whole_numbers_are_even_and_others_are_not() -> None:
    assert Grid(even(-2, 1), 32).is_even
    assert not Grid(np.array([-2, -1, 1], np.float32), 32).is_even
