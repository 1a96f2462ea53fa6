"""Halves are converted alike with and without the processor's own instructions, and as numpy converts them."""

import numba
import numpy as np
import pytest

from quantize_cli.jit import half
from quantize_cli.jit.simd import from_half, load, load_half, store, store_half, to_half

_ALL_HALVES = np.arange(1 << 16, dtype=np.uint16)


def _floats() -> np.ndarray:
    """Every half, the ties between neighbours and what lies just beside them, and floats of every magnitude."""
    finite = _ALL_HALVES.view(np.float16).astype(np.float32)
    finite = np.sort(finite[np.isfinite(finite)])
    ties = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    beside = np.concatenate([np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))])
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    found = np.concatenate([finite, ties, beside, anything[~np.isnan(anything)], np.float32([65519.9, 65520, 3e38])])
    return np.resize(found, len(found) // 16 * 16)


@pytest.fixture(params=["native", "spelled out"])
def conversion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "native" and not half.is_native():
        pytest.skip("this processor does not convert halves itself")
    monkeypatch.setattr(half, "is_native", lambda: request.param == "native")


@pytest.mark.usefixtures("conversion")
def test_floats_become_the_nearest_halves() -> None:
    @numba.njit(error_model="numpy")
    def narrow(floats, lanes, scalars):
        for i in range(0, floats.shape[1], 16):
            store_half(lanes, 0, i, load(floats, 0, i))
        for i in range(floats.shape[1]):
            scalars[i] = to_half(floats[0, i])

    floats = _floats()
    lanes, scalars = np.empty((1, len(floats)), np.uint16), np.empty(len(floats), np.uint16)
    narrow(floats[None], lanes, scalars)
    with np.errstate(over="ignore"):
        expected = floats.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(lanes[0], expected)
    np.testing.assert_array_equal(scalars, expected)


@pytest.mark.usefixtures("conversion")
def test_halves_become_floats_exactly() -> None:
    @numba.njit(error_model="numpy")
    def widen(halves, lanes, scalars):
        for i in range(0, halves.shape[1], 16):
            store(lanes, 0, i, load_half(halves, 0, i))
        for i in range(halves.shape[1]):
            scalars[i] = from_half(halves[0, i])

    lanes, scalars = np.empty((1, 1 << 16), np.float32), np.empty(1 << 16, np.float32)
    widen(_ALL_HALVES[None], lanes, scalars)
    expected = _ALL_HALVES.view(np.float16).astype(np.float32)
    for found in (lanes[0], scalars):
        same = found.view(np.uint32) == expected.view(np.uint32)
        assert (same | (np.isnan(found) & np.isnan(expected))).all()


@pytest.mark.usefixtures("conversion")
def test_a_nan_stays_one() -> None:
    @numba.njit
    def narrow(number):
        return to_half(number)

    assert np.isnan(np.uint16(narrow(np.float32(np.nan))).view(np.float16))
