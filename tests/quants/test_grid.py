"""A grid says what codes stand for: levels times scales, less or more minima, whatever a decoder does to get there."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants import Grid, Lattice, Signs
from quantize_cli.quants.interface.grid import even
from tests.calibration.naive import GRIDS, LATTICES

ROUNDINGS = 2.0**-22
"""Of the terms: either side rounds up to three float32 products and a sum."""


def codes_of_random_blocks(type_: GgmlType, count: int) -> np.ndarray:
    """Codes of blocks of random bits, but with scales and minima that are numbers.

    Q8_0 and TQ2_0 alone have a code that is no level, as the reference never gives it.
    """
    quant, random = quants.find(type_), np.random.default_rng(5)
    raw = random.integers(0, 256, (count, quant.block.itemsize), np.uint8)
    codes = quant.unpack(raw.view(quant.block)[:, 0])
    for name in {"scale", "minimum"} & set(codes.dtype.names or ()):
        codes[name] = random.normal(size=count).astype(np.float16)
    if type_ is GgmlType.Q8_0:
        codes["code"] = np.maximum(codes["code"], -127)
    if type_ is GgmlType.TQ2_0:
        codes["code"] = np.minimum(codes["code"], 2)
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


def signs_of(bits: int, rule: Signs) -> list[int]:
    """Those of eight weights."""
    signs = [-1 if bits >> i & 1 else 1 for i in range(8)]
    if rule is Signs.EVEN:
        signs[7] = int(np.prod(signs[:7]))
    return signs


def values_of(codes: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Points with their signs, not scaled, one weight after the other, (256,) f64."""
    if lattice.signs is Signs.NONE:
        run_down = np.repeat(codes["down"], 32 // len(codes["down"]))
        return lattice.points[codes["point"] + 2048 * run_down.astype(int)].astype(np.float64).ravel()
    signs = np.concatenate([signs_of(int(bits), lattice.signs) for bits in codes["sign"]])
    return np.asarray(lattice.points[codes["point"]].astype(np.float64).ravel() * signs)


@pytest.mark.parametrize("type_", LATTICES, ids=lambda t: t.name)
def test_points_stand_for_what_the_decoder_makes_of_them(type_: GgmlType) -> None:
    quant, codes = quants.find(type_), codes_of_random_blocks(type_, 20)
    assert quant.lattice is not None
    decoded = quant.dequantize(codes)
    for block, found in zip(codes, decoded, strict=True):
        scales = float(block["scale"]) * (2 * block["scale_code"].astype(float) + 1)
        expected = np.repeat(scales, quant.lattice.group) * values_of(block, quant.lattice)
        assert (np.abs(found - expected) <= ROUNDINGS * np.abs(expected)).all()


@pytest.mark.parametrize("type_", LATTICES, ids=lambda t: t.name)
def test_a_lattice_has_the_points_and_scale_codes_of_its_type(type_: GgmlType) -> None:
    codes, lattice = codes_of_random_blocks(type_, 2000), quants.find(type_).lattice
    assert lattice is not None
    assert (codes["scale_code"].min(), codes["scale_code"].max()) == lattice.scale_codes
    shifts = 2 if lattice.signs is Signs.NONE else 1
    assert codes["point"].max() + 1 == len(lattice.points) // shifts
    assert len(lattice.points) % (16 * lattice.choices) == 0


def test_whole_numbers_are_even_and_others_are_not() -> None:
    assert Grid(even(-2, 1), 32).is_even
    assert not Grid(np.array([-2, -1, 1], np.float32), 32).is_even
