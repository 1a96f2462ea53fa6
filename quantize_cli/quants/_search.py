"""The reference's searches for scales, run for sixteen groups of weights at once, one in each lane.

A workspace is a float32 array (WORK_ROWS, 16): a group's i-th weight stands in row WEIGHTS + i of its lane, its
importance in row IMPORTANCE + i. Results come back in the named rows below.
"""

import numpy as np

from quantize_cli.kernel import inlined, merged
from quantize_cli.simd import (
    absolute,
    all_lanes,
    load,
    maximum,
    minimum,
    nearest,
    round_half_even,
    select,
    splat,
    square_root,
    store,
    to_float,
)  # fmt: skip

f32 = np.float32

WEIGHTS, IMPORTANCE, CODES = 0, 32, 64
SCALE, MINIMUM, INVERSE, ORIGIN = 96, 97, 98, 99
WORK_ROWS = 100

SMALLEST = f32(1e-15)
"""A group whose largest magnitude is below this counts as all zero (GROUP_MAX_EPS)."""

_TAME = f32(4194303)
"""Below this magnitude nearest_int is plain rounding, which is one instruction instead of four."""


@inlined
def gather(work, row, source, blocks, first, count, per_block):
    """Lay sixteen groups of `count` neighbours across the lanes, from block `first` on, `per_block` groups to a block.

    `source` (n, block weights) may hold fewer than `blocks` blocks: an importance repeats for every row of weights.
    Past the last block the last is read again; what such lanes compute is not stored.
    """
    for lane in range(16):
        block = min(first + lane // per_block, blocks - 1) % source.shape[0]
        start = lane % per_block * count
        for i in range(count):
            work[row + i, lane] = source[block, start + i]


@inlined
def weigh_by_row(work, variance, first, blocks, per_row):
    """Multiply IMPORTANCE by sqrt(variance of the row + weight^2); lanes hold blocks from `first` on."""
    sigma = np.empty((1, 16), np.float32)
    for lane in range(16):
        sigma[0, lane] = variance[min(first + lane, blocks - 1) // per_row]
    weigh(work, 32, load(sigma, 0, 0))


@inlined
def weigh(work, count, variance):
    """Multiply IMPORTANCE by sqrt(variance + weight^2); gives the sums of the products."""
    total = splat(f32(0))
    for i in range(count):
        w = load(work, WEIGHTS + i, 0)
        cost = load(work, IMPORTANCE + i, 0) * square_root(variance + w * w)
        store(work, IMPORTANCE + i, 0, cost)
        total = total + cost
    return total


@inlined
def weigh_by_squares(work, count):
    """Let IMPORTANCE be each weight's square: the reference's choice where it is told none."""
    for i in range(count):
        w = load(work, WEIGHTS + i, 0)
        store(work, IMPORTANCE + i, 0, w * w)


@inlined
def _tame_code(scaled, bottom, top):
    return minimum(maximum(round_half_even(scaled), f32(bottom)), f32(top))


@inlined
def _wild_code(scaled, bottom, top):
    """The same where `scaled` may be past nearest_int's range, infinite or NaN."""
    return to_float(maximum(minimum(nearest(scaled), top), bottom))


@inlined
def nearest_int(number):
    """`simd.nearest` for one number."""
    return (np.float32(number + f32(12582912)).view(np.int32) & 0x007FFFFF) - 0x00400000


# --- scale and minimum: Q2_K, Q4_K, Q5_K, Q4_1, Q5_1 --------------------------------------------------------------


@inlined
def search_scale_and_minimum(work, count, top, first, step, steps, by_magnitude):
    """Scale and minimum of weights ~ scale * code + minimum, code in 0..top (make_qkx2_quants, make_qkx3_quants).

    Tries steps + 1 ranges, refits both by weighted least squares, keeps the smallest weighted error, which sums
    squares or magnitudes (use_mad). SCALE and MINIMUM receive the result, the minimum with its sign turned; INVERSE
    and ORIGIN what `searched_code` needs.
    """
    zero = splat(f32(0))
    low = high = load(work, WEIGHTS, 0)
    sum_i = load(work, IMPORTANCE, 0)
    sum_iw = sum_i * low
    for i in range(1, count):
        w, importance = load(work, WEIGHTS + i, 0), load(work, IMPORTANCE + i, 0)
        low, high = minimum(w, low), maximum(w, high)
        sum_i, sum_iw = sum_i + importance, sum_iw + importance * w
    lowest, low = low, select(low > zero, zero, low)
    spread = high > low
    inverse = select(spread, f32(top) / (high - low), zero)
    scale, bottom = select(spread, f32(1) / inverse, zero), low
    _encode(work, count, top, inverse, low, high, lowest)
    best = _error(work, count, scale, low, by_magnitude)
    best_inverse, best_bottom = inverse, low
    for s in range(steps + 1):
        inverse = select(spread, splat(first + step * f32(s) + f32(top)) / (high - bottom), zero)  # the range moves
        sum_c, sum_cc, sum_cw = _encode(work, count, top, inverse, bottom, high, lowest)
        determinant = sum_i * sum_cc - sum_c * sum_c
        a = (sum_i * sum_cw - sum_iw * sum_c) / determinant
        b = (sum_cc * sum_iw - sum_c * sum_cw) / determinant
        positive = b > zero
        a, b = select(positive, sum_cw / sum_cc, a), select(positive, zero, b)
        total = _error(work, count, a, b, by_magnitude)
        better = (determinant > zero) & (total < best)
        best_inverse, best_bottom = select(better, inverse, best_inverse), select(better, bottom, best_bottom)
        best, scale, bottom = select(better, total, best), select(better, a, scale), select(better, b, bottom)
    store(work, SCALE, 0, scale)
    store(work, MINIMUM, 0, bottom * f32(-1))  # exactly turned: the sign of a zero reaches the file
    store(work, INVERSE, 0, best_inverse)
    store(work, ORIGIN, 0, best_bottom)


@inlined
def _encode(work, count, top, inverse, bottom, high, lowest):
    """CODES = the codes of a range, and their importance-weighted sums: of codes, their squares, codes x weights."""
    reach = maximum(absolute(high - bottom), absolute(bottom - lowest))
    if all_lanes(absolute(inverse) * reach < _TAME):
        return _encode_with(_tame_code, work, count, top, inverse, bottom)
    return _encode_with(_wild_code, work, count, top, inverse, bottom)


@merged
def _encode_with(code_of, work, count, top, inverse, bottom):
    sum_c = sum_cc = sum_cw = splat(f32(0))
    for i in range(count):
        w = load(work, WEIGHTS + i, 0)
        code = code_of(inverse * (w - bottom), 0, top)
        store(work, CODES + i, 0, code)
        ic = load(work, IMPORTANCE + i, 0) * code
        sum_c, sum_cc, sum_cw = sum_c + ic, sum_cc + ic * code, sum_cw + ic * w
    return sum_c, sum_cc, sum_cw


@inlined
def _error(work, count, scale, bottom, by_magnitude):
    total = splat(f32(0))
    for i in range(count):
        error = scale * load(work, CODES + i, 0) + bottom - load(work, WEIGHTS + i, 0)
        total = total + load(work, IMPORTANCE + i, 0) * (absolute(error) if by_magnitude else error * error)
    return total


@inlined
def searched_code(work, lane, i, top):
    """The code the search itself gave weight `i` of a lane: what stays where the stored scale rounds to zero."""
    scaled = work[INVERSE, lane] * (work[WEIGHTS + i, lane] - work[ORIGIN, lane])
    return max(0, min(top, nearest_int(scaled)))


# --- scale alone: Q6_K, Q4_0, Q5_0, Q3_K with importance ----------------------------------------------------------


@inlined
def search_scale(work, count, limit):
    """Scale of weights ~ scale * code, code in -limit..limit-1 (make_qx_quants with rmse_type 1).

    Tries nineteen ranges and keeps the one that explains most weighted energy. SCALE receives the result, INVERSE
    what gives the codes again; both are zero for a group that counts as all zero.
    """
    zero = splat(f32(0))
    extreme, magnitude = extremes(work, count)
    for i in range(count):
        store(work, CODES + i, 0, load(work, IMPORTANCE + i, 0) * load(work, WEIGHTS + i, 0))
    something = magnitude >= SMALLEST
    best_inverse = select(something, f32(-limit) / extreme, zero)
    sum_cw, sum_cc = _energy(work, count, limit, best_inverse)
    scale = select(sum_cc == zero, zero, sum_cw / sum_cc)
    best = scale * sum_cw
    for shift in range(-9, 10):
        if shift == 0:
            continue
        inverse = select(something, splat(-(f32(limit) + f32(0.1) * f32(shift))) / extreme, zero)
        sum_cw, sum_cc = _energy(work, count, limit, inverse)
        better = (sum_cc > zero) & (sum_cw * sum_cw > best * sum_cc)
        best_inverse = select(better, inverse, best_inverse)
        scale = select(better, sum_cw / sum_cc, scale)
        best = select(better, scale * sum_cw, best)
    store(work, SCALE, 0, select(something, scale, zero))
    store(work, INVERSE, 0, best_inverse)


@inlined
def extremes(work, count):
    """The weight of largest magnitude in each lane, the first of several, and that magnitude."""
    extreme = magnitude = splat(f32(0))
    for i in range(count):
        w = load(work, WEIGHTS + i, 0)
        larger = absolute(w) > magnitude
        extreme, magnitude = select(larger, w, extreme), select(larger, absolute(w), magnitude)
    return extreme, magnitude


@inlined
def _energy(work, count, limit, inverse):
    """Importance-weighted sums of codes x weights and of codes squared.

    What is scaled stays within a step of the limit, so rounding is always plain.
    """
    sum_cw = sum_cc = splat(f32(0))
    for i in range(count):
        code = _tame_code(inverse * load(work, WEIGHTS + i, 0), -limit, limit - 1)
        sum_cw = sum_cw + load(work, CODES + i, 0) * code
        sum_cc = sum_cc + load(work, IMPORTANCE + i, 0) * code * code
    return sum_cw, sum_cc
