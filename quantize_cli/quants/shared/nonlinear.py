"""What IQ4_NL and IQ4_XS share: codes 0..15 that stand for sixteen levels, closer together near zero.

A group of 32 weights is weight ~ scale * LEVELS[code]; each code is that of the nearest level.
"""

import numpy as np

from quantize_cli.jit.kernel import inlined
from quantize_cli.jit.simd import load, lookup, select, splat, store
from quantize_cli.quants.search.scales import IMPORTANCE, SCALE, SMALLEST, WEIGHTS, extremes

f32 = np.float32
GROUP = 32
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
"""kvalues_iq4nl."""

_TABLE = LEVELS.reshape(1, 16)

_BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / f32(2)
"""Half way from each level to the next: exact, and so is the reference's comparison of the two distances."""

_TRIES = 7


@inlined
def search_level_scale(work):
    """Scale of each lane's weights, of fifteen ranges the one that explains most weighted energy -> SCALE.

    The search of quantize_row_iq4_nl_impl.
    """
    zero = splat(f32(0))
    extreme, magnitude = extremes(work, GROUP)
    something = magnitude >= SMALLEST
    sum_vw, sum_vv = _energy(work, f32(1) / (extreme / f32(127)))
    scale = select(sum_vv > zero, sum_vw / sum_vv, zero)
    best = scale * sum_vw
    for shift in range(-_TRIES, _TRIES + 1):
        sum_vw, sum_vv = _energy(work, splat(f32(shift - 127)) / extreme)
        better = (sum_vv > zero) & (sum_vw * sum_vw > best * sum_vv)
        scale = select(better, sum_vw / sum_vv, scale)
        best = select(better, scale * sum_vw, best)
    store(work, SCALE, 0, select(something, scale, zero))


@inlined
def _energy(work, inverse):
    """Importance-weighted sums of levels x weights and of levels squared."""
    sum_vw = sum_vv = splat(f32(0))
    for i in range(GROUP):
        w = load(work, WEIGHTS + i, 0)
        level = _nearest_level(inverse * w)
        weighted = load(work, IMPORTANCE + i, 0) * level
        sum_vw, sum_vv = sum_vw + weighted * w, sum_vv + weighted * level
    return sum_vw, sum_vv


@inlined
def _nearest_level(scaled):
    level = splat(LEVELS[15])  # of a NaN too
    for i in range(14, -1, -1):
        level = select(scaled < _BETWEEN[i], splat(LEVELS[i]), level)
    return level


@inlined
def encode_levels(weights, block, start, scale, code):
    """code[block, start : start + 32] = the codes of those weights at a scale."""
    inverse = f32(1) / scale if scale != f32(0) else f32(0)
    for i in range(start, start + GROUP, 16):
        store(code, block, i, _nearest_code(load(weights, block, i) * inverse))


@inlined
def levels_of(code, block, start):
    """The levels that sixteen codes of a block stand for."""
    return lookup(load(_TABLE, 0, 0), load(code, block, start) & 15)


@inlined
def _nearest_code(scaled):
    code = splat(np.int32(15))
    for i in range(14, -1, -1):
        code = select(scaled < _BETWEEN[i], splat(i), code)
    return code
