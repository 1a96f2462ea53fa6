"""Activations in blocks of 256 are rounded by the one of largest magnitude, as ggml finds it."""

import numpy as np
import pytest

from quantize_cli import dots
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Recorder

f32 = np.float32


def scale_of(block: np.ndarray) -> f32:
    x = block.astype(f32)[None]
    codes, scales, sums = np.empty((1, 256), np.int8), np.empty((1, 8), f32), np.empty((1, 16), f32)
    recorder = Recorder(Threads(1))
    recorder.add(dots.rows_super, x=x, codes=codes, scales=scales, sums=sums, halved_sums=False)
    recorder.run()
    assert np.array_equal(scales, np.full_like(scales, scales[0, 0]), equal_nan=True)
    return f32(scales[0, 0])


def scale_for(extreme: float) -> f32:
    return f32(1) / (f32(-127) / f32(extreme))


@pytest.mark.parametrize("place", [0, 1, 15, 16, 100, 254, 255])
@pytest.mark.parametrize("extreme", [3.0, -3.0])
def test_the_extreme_is_found_wherever_it_is(extreme: float, place: int) -> None:
    block = np.random.default_rng(place).uniform(-1, 1, 256)
    block[place] = extreme
    assert scale_of(block) == scale_for(extreme)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 19), (17, 18), (20, 35), (31, 224), (254, 255)])
@pytest.mark.parametrize("extreme", [3.0, -3.0])
def test_of_equal_magnitudes_the_first_counts(extreme: float, first: int, second: int) -> None:
    block = np.random.default_rng(first).uniform(-1, 1, 256)
    block[first], block[second] = extreme, -extreme
    assert scale_of(block) == scale_for(extreme)


@pytest.mark.parametrize("fill", [0.0, -0.0])
def test_a_block_without_an_extreme_has_no_scale(fill: float) -> None:
    assert scale_of(np.full(256, fill)) == 0


@pytest.mark.parametrize("place", [0, 15, 16, 100, 255])
def test_what_is_no_number_is_not_lost(place: int) -> None:
    block = np.random.default_rng(0).uniform(-1, 1, 256)
    block[place], block[4] = np.nan, -2
    assert np.isnan(scale_of(block))


@pytest.mark.parametrize("place", [0, 15, 16, 31])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_lost_in_small_blocks(number: float, place: int) -> None:
    x = np.ones((1, 128), f32)
    x[0, place] = number
    codes, scales, sums = np.empty((1, 128), np.int8), np.empty((1, 16), f32), np.empty((1, 16), f32)
    recorder = Recorder(Threads(1))
    recorder.add(dots.rows_small, x=x, codes=codes, scales=scales, sums=sums, halved_sums=False)
    recorder.run()
    assert not np.isfinite(scales[0, :4]).any()
    assert np.isfinite(scales[0, 4:]).all()
