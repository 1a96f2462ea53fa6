"""The exponential and what is made of it, on sixteen lanes, within 2 ulp.

The argument is split as n ln 2 + r with |r| <= ln(2) / 2, and e**r is a polynomial (Cephes, expf.c and tanhf.c).
"""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import kernel, merged

f32, i32 = np.float32, np.int32
_SHIFT = f32(12582912)
"""1.5 * 2**23: a float this large has no fraction, and its low bits are the integer that was added to it."""
_LOG2_E = f32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = f32(-0.693359375), f32(2.12194440e-4)
"""Minus ln 2 in two parts, of which the first has few enough bits that its product with n is exact."""
_HIGHEST, _LOWEST = f32(88.72283), f32(-87.33654)
"""Between these the exponential is a normal number."""
_INFINITY = f32(np.inf)


@merged
def exponential(x):
    """e**x: zero where it would be below the normal numbers, infinity where above, NaN of NaN."""
    shifted = simd.multiply_add(x, _LOG2_E, _SHIFT)
    whole = shifted - _SHIFT
    rest = simd.multiply_add(whole, _LN2_LOW, simd.multiply_add(whole, _LN2_HIGH, x))
    power = simd.multiply_add(rest, f32(1.9875691500e-4), f32(1.3981999507e-3))
    power = simd.multiply_add(power, rest, f32(8.3334519073e-3))
    power = simd.multiply_add(power, rest, f32(4.1665795894e-2))
    power = simd.multiply_add(power, rest, f32(1.6666665459e-1))
    power = simd.multiply_add(power, rest, f32(5.0000001201e-1))
    power = simd.multiply_add(power, rest * rest, rest) + f32(1)
    scaled = simd.from_bits(simd.bits(power) + (simd.bits(shifted) << i32(23)))
    scaled = simd.select(x > _LOWEST, scaled, simd.splat(f32(0)))
    return simd.select(x <= _HIGHEST, scaled, x + _INFINITY)


@merged
def tanh(x):
    """The hyperbolic tangent: a polynomial near zero, where one less the exponential's part would cancel."""
    magnitude = simd.absolute(x)
    far = f32(1) - f32(2) / (exponential(magnitude + magnitude) + f32(1))
    far = simd.from_bits(simd.bits(far) | (simd.bits(x) & i32(-(2**31))))
    square = x * x
    near = simd.multiply_add(square, f32(-5.70498872745e-3), f32(2.06390887954e-2))
    near = simd.multiply_add(near, square, f32(-5.37397155531e-2))
    near = simd.multiply_add(near, square, f32(1.33314422036e-1))
    near = simd.multiply_add(near, square, f32(-3.33332819422e-1))
    near = simd.multiply_add(near * square, x, x)
    return simd.select(magnitude < f32(0.625), near, far)


@kernel
def _fill(x, out):
    columns = x.shape[1]
    whole = columns - columns % 16
    for row in range(x.shape[0]):
        for column in range(0, whole, 16):
            simd.store(out, row, column, exponential(simd.load(x, row, column)))
        if columns > whole:
            last = exponential(simd.load_some(x, row, whole, columns - whole))
            simd.store_some(out, row, whole, last, columns - whole)


def exponentials(x: np.ndarray) -> np.ndarray:
    """e**x of numbers (n, columns) f32."""
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    _fill(x, out)
    return out
