"""Powers of float32, sixteen at a time, in arithmetic that no processor does otherwise."""

import numpy as np

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.simd import (
    bits,
    from_bits,
    load,
    load_some,
    multiply_add,
    select,
    splat,
    store,
    store_some,
    to_float,
)
from quantize_cli.runtime.kernels.exponential import exponential

f32, i32 = np.float32, np.int32
_ROOT_HALF = 0x3F3504F3
"""The bits of the root of a half."""


@merged
def _logarithm(x):
    """ln x of normal numbers above zero (Cephes, logf.c); -87.3 of smaller ones."""
    x = select(x > f32(1.1754944e-38), x, splat(f32(1.1754944e-38)))
    exponent = (bits(x) - i32(_ROOT_HALF)) >> i32(23)
    rest = from_bits(bits(x) - (exponent << i32(23))) - f32(1)
    square = rest * rest
    series = multiply_add(rest, f32(7.0376836292e-2), f32(-1.1514610310e-1))
    series = multiply_add(series, rest, f32(1.1676998740e-1))
    series = multiply_add(series, rest, f32(-1.2420140846e-1))
    series = multiply_add(series, rest, f32(1.4249322787e-1))
    series = multiply_add(series, rest, f32(-1.6668057665e-1))
    series = multiply_add(series, rest, f32(2.0000714765e-1))
    series = multiply_add(series, rest, f32(-2.4999993993e-1))
    series = multiply_add(series, rest, f32(3.3333331174e-1))
    whole = to_float(exponent)
    small = multiply_add(whole, f32(-2.12194440e-4), series * rest * square) - square * f32(0.5)
    return multiply_add(whole, f32(0.693359375), rest + small)


@kernel
def _raise(x, exponent, out):
    columns = x.shape[1]
    for row in range(x.shape[0]):
        whole = columns - columns % 16
        for column in range(0, whole, 16):
            store(out, row, column, exponential(_logarithm(load(x, row, column)) * exponent))
        if columns > whole:
            rest = columns - whole
            store_some(out, row, whole, exponential(_logarithm(load_some(x, row, whole, rest)) * exponent), rest)


def powers_of(x: np.ndarray, exponent: float) -> np.ndarray:
    """Numbers of at least 0 (..., n) f32 to a power, off by a few millionths; those below 1e-38 count as so much."""
    matrix = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
    out = np.empty_like(matrix)
    _raise(matrix, np.float32(exponent), out)
    return out.reshape(x.shape)
