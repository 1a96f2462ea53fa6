"""All makings of the integer products give the same integers."""

import numpy as np
import pytest
from llvmlite import binding
from numba import njit

from quantize_cli.dots.kernels.products import Instructions, dot4_of
from quantize_cli.jit.simd import store
from quantize_cli.jit.simd.addresses import load_bytes

_NEEDED = {Instructions.VNNI: "avx512vnni", Instructions.AVX2: "avx2"}


def sums(chosen: Instructions, unsigned: np.ndarray, signed: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Rows of 64 bytes each, and sixteen int32 -> sixteen int32."""
    if chosen in _NEEDED and not binding.get_host_cpu_features().get(_NEEDED[chosen], False):
        pytest.skip(f"the processor lacks {_NEEDED[chosen]}")
    dot4 = dot4_of(chosen)

    @njit
    def multiply(unsigned, signed, totals, found):
        for row in range(len(found)):
            u, s = load_bytes(unsigned.ctypes.data + 64 * row), load_bytes(signed.ctypes.data + 64 * row)
            store(found, row, 0, dot4(load_bytes(totals.ctypes.data + 64 * row), u, s))

    found = np.empty_like(totals)
    multiply(unsigned, signed, totals, found)
    return found


@pytest.mark.parametrize("chosen", Instructions)
def test_every_making_gives_the_exact_sums(chosen: Instructions) -> None:
    random = np.random.default_rng(0)
    unsigned = random.integers(0, 256, (200, 64), np.uint8)
    signed = random.integers(-128, 128, (200, 64), np.int8)
    unsigned[0], signed[0] = 255, -128
    unsigned[1], signed[1] = 255, 127
    unsigned[2, ::2], signed[2, ::2] = 255, -128
    totals = random.integers(-(2**30), 2**30, (200, 16), np.int32)
    products = unsigned.astype(np.int64) * signed
    expected = totals + products.reshape(200, 16, 4).sum(axis=2)
    assert np.array_equal(expected, sums(chosen, unsigned, signed, totals))
