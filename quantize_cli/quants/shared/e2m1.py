"""What MXFP4 and NVFP4 share: floats of four bits, a sign, two of exponent and one of mantissa (E2M1).

    weight = half_scale * LEVELS[code]        code in 0..15

Levels are doubled, which makes them whole: 0 1 2 3 4 6 8 12 for codes 0..7 and the same below zero for 8..15; scales
are halved to make up for it (kvalues_fp4). A code is that of the nearest level, the first of two equally near.
"""

import numpy as np

from quantize_cli.jit.kernel import inlined
from quantize_cli.jit.simd import absolute, bits, float_from_bits, largest, load, lookup, maximum, select, splat, store

f32 = np.float32
MAGNITUDES = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
_LEVELS = np.concatenate([MAGNITUDES, 0 - MAGNITUDES])[None]


@inlined
def largest_magnitude(weights, block, start, count):
    """Of weights[block, start : start + count]."""
    magnitude = splat(f32(0))
    for i in range(start, start + count, 16):
        magnitude = maximum(absolute(load(weights, block, i)), magnitude)
    return float_from_bits(largest(bits(magnitude)))


@inlined
def encode(weights, block, start, half_scale, code):
    """Codes of sixteen weights (best_index_mxfp4)."""
    w = load(weights, block, start)
    magnitude = absolute(w)
    found, best = splat(np.int32(0)), magnitude
    for i in range(1, 8):
        error = absolute(splat(MAGNITUDES[i] * half_scale) - magnitude)
        nearer = error < best
        found, best = select(nearer, splat(i), found), select(nearer, error, best)
    store(code, block, start, select((w < f32(0)) & (found > 0), found + 8, found))  # of the two zeros the positive


@inlined
def decode(code, block, start, half_scale, weights):
    """The weights sixteen codes stand for."""
    store(weights, block, start, lookup(load(_LEVELS, 0, 0), load(code, block, start) & 15) * half_scale)
