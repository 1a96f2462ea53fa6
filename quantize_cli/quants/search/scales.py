"""The reference's searches for scales, run for sixteen groups of weights at once, one in each lane.

A workspace is a float32 array (WORK_ROWS, 16): a group's i-th weight stands in row WEIGHTS + i of its lane, its
importance in row IMPORTANCE + i. Results come back in the named rows below.
"""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, merged

f32 = np.float32

WEIGHTS, IMPORTANCE, CODES = 0, 32, 64
SCALE, MINIMUM, INVERSE, ORIGIN = 96, 97, 98, 99
WORK_ROWS = 100

SMALLEST = f32(1e-15)
"""A group whose largest magnitude is below this counts as all zero (GROUP_MAX_EPS)."""

_TAME = f32(4194303)
"""Below this magnitude nearest_int is plain rounding, which is one instruction instead of four."""

_NO_STEP = f32(0.45)
"""Past a whole number by less than this, and a few roundings, is still rounded to it."""

_OPEN, _CLOSED, _WILD = 0, 1, 2
"""What a code needs: only a bottom, both bounds, or both and nearest_int for numbers past its range or NaN."""


@inlined
def workspace(rows):
    """Float32 (rows, 16), each row one cache line: reading a row that lies across two takes twice as long."""
    return _lines(rows).reshape(rows, 16)


@inlined
def wide_workspace(rows):
    """Float32 (rows, 2, 16): for thirty-two groups at once, in two vectors."""
    return _lines(2 * rows).reshape(rows, 2, 16)


@inlined
def _lines(count):
    flat = np.empty(count * 16 + 15, np.float32)
    start = -flat.ctypes.data % 64 // 4
    return flat[start : start + count * 16]


@inlined
def gather(work, first_row, source, blocks, first, count, per_block):
    """Lay groups of `count` neighbours across the lanes, from block `first` on, `per_block` groups to a block.

    `source` (n, block weights) may hold fewer than `blocks` blocks: an importance repeats for every row of weights.
    Past the last block the last is read again; what such lanes compute is not stored. `count` is a multiple of 16
    and `per_block` divides 16.
    """
    together = 16 // per_block
    for half in range(work.size // (16 * work.shape[0])):
        for part in range(together):
            block = min(first + half * together + part, blocks - 1) % source.shape[0]
            for i in range(per_block):
                for start in range(0, count, 16):
                    found = simd.load(source, block, i * count + start)
                    simd.store(work, first_row + start + part * per_block + i, 16 * half, found)
        for start in range(0, count, 16):
            simd.transpose(work, first_row + start, half)


@inlined
def sums_of_squares(tall, weights, blocks, first):
    """Sums of squares of sixteen blocks from `first` on, each in column order; `tall` is a workspace of 256 rows.

    A sum is a chain of additions, each waiting for the one before: sixteen at once cost what one does.
    """
    gather(tall, 0, weights, blocks, first, 256, 1)
    squares = simd.zeros_like(simd.row(tall, 0))
    for i in range(256):
        squares = squares + simd.row(tall, i) * simd.row(tall, i)
    return squares


@merged
def not_negative(number):
    """maximum(number, 0) of numbers that are not NaN, by their bits: multiplications keep the other unit busy."""
    return simd.from_bits(simd.maximum(simd.bits(number), 0))


@merged
def at_most(number, bound):
    """minimum(number, bound) of numbers that are not NaN and a bound above zero, likewise."""
    return simd.from_bits(simd.minimum(simd.bits(number), f32(bound).view(np.int32)))


@inlined
def weigh_by_row(work, variance, first, blocks, per_row):
    """Multiply IMPORTANCE by sqrt(variance of the row + weight^2); lanes hold blocks from `first` on."""
    sigma = np.empty((1, 16), np.float32)
    for lane in range(16):
        sigma[0, lane] = variance[min(first + lane, blocks - 1) // per_row]
    weigh(work, 32, simd.load(sigma, 0, 0))


@inlined
def weigh(work, count, variance):
    """Multiply IMPORTANCE by sqrt(variance + weight^2); gives the sums of the products."""
    total = simd.zeros_like(variance)
    for i in range(count):
        w = simd.row(work, WEIGHTS + i)
        cost = simd.row(work, IMPORTANCE + i) * simd.square_root(variance + w * w)
        simd.set_row(work, IMPORTANCE + i, cost)
        total = total + cost
    return total


@inlined
def weigh_by_squares(work, count):
    """Let IMPORTANCE be each weight's square: the reference's choice where it is told none."""
    for i in range(count):
        w = simd.row(work, WEIGHTS + i)
        simd.set_row(work, IMPORTANCE + i, w * w)


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
    zero = simd.zeros_like(simd.row(work, WEIGHTS))
    lowest, high, sum_i, sum_iw = _spread(work, count)
    low = simd.select(lowest > zero, zero, lowest)
    spread = high > low
    inverse = simd.select(spread, f32(top) / (high - low), zero)
    scale, bottom = simd.select(spread, f32(1) / inverse, zero), low
    _encode(work, count, top, f32(0), inverse, low, high, lowest)
    best = _error(work, count, scale, low, by_magnitude)
    best_inverse, best_bottom = inverse, low
    for s in range(steps + 1):
        wider = first + step * f32(s)
        inverse = simd.select(spread, (wider + f32(top)) / (high - bottom), zero)  # the range moves
        sum_c, sum_cc, sum_cw = _encode(work, count, top, wider, inverse, bottom, high, lowest)
        determinant = sum_i * sum_cc - sum_c * sum_c
        a = (sum_i * sum_cw - sum_iw * sum_c) / determinant
        b = (sum_cc * sum_iw - sum_c * sum_cw) / determinant
        positive = b > zero
        a, b = simd.select(positive, sum_cw / sum_cc, a), simd.select(positive, zero, b)
        total = _error(work, count, a, b, by_magnitude)
        better = (determinant > zero) & (total < best)
        best_inverse, best_bottom = simd.select(better, inverse, best_inverse), simd.select(better, bottom, best_bottom)
        scale, bottom = simd.select(better, a, scale), simd.select(better, b, bottom)
        best = simd.select(better, total, best)
    simd.set_row(work, SCALE, scale)
    simd.set_row(work, MINIMUM, bottom * f32(-1))  # exactly turned: the sign of a zero reaches the file
    simd.set_row(work, INVERSE, best_inverse)
    simd.set_row(work, ORIGIN, best_bottom)


@merged
def _spread(work, count):
    """The lowest and highest weight of each lane, the sums of importance and of importance x weight."""
    low = high = simd.row(work, WEIGHTS)
    sum_i = simd.row(work, IMPORTANCE)
    sum_iw = sum_i * low
    for i in range(1, count):
        w, importance = simd.row(work, WEIGHTS + i), simd.row(work, IMPORTANCE + i)
        low, high = simd.minimum(w, low), simd.maximum(w, high)
        sum_i, sum_iw = sum_i + importance, sum_iw + importance * w
    return low, high, sum_i, sum_iw


@merged
def _encode(work, count, top, wider, inverse, bottom, high, lowest):
    """CODES = the codes of a range, and their importance-weighted sums: of codes, their squares, codes x weights.

    The highest weight is scaled to top + wider, which rounds to at most `top` where `wider` stays below a half.
    """
    reach = simd.maximum(simd.absolute(high - bottom), simd.absolute(bottom - lowest))
    if simd.all_lanes(simd.absolute(inverse) * reach < _TAME):
        if wider < _NO_STEP:
            return _encode_with(work, count, top, inverse, bottom, _OPEN)
        return _encode_with(work, count, top, inverse, bottom, _CLOSED)
    return _encode_with(work, count, top, inverse, bottom, _WILD)


@merged
def _encode_with(work, count, top, inverse, bottom, kind):
    sum_c = sum_cc = sum_cw = simd.zeros_like(inverse)
    for i in range(count):
        w = simd.row(work, WEIGHTS + i)
        scaled = inverse * (w - bottom)
        if kind == _OPEN:
            code = not_negative(simd.round_half_even(scaled))
        elif kind == _CLOSED:
            code = at_most(not_negative(simd.round_half_even(scaled)), f32(top))
        else:
            code = simd.to_float(simd.maximum(simd.minimum(simd.nearest(scaled), top), 0))
        simd.set_row(work, CODES + i, code)
        ic = simd.row(work, IMPORTANCE + i) * code
        sum_c, sum_cc, sum_cw = sum_c + ic, sum_cc + ic * code, sum_cw + ic * w
    return sum_c, sum_cc, sum_cw


@merged
def _error(work, count, scale, bottom, by_magnitude):
    total = simd.zeros_like(scale)
    for i in range(count):
        error = scale * simd.row(work, CODES + i) + bottom - simd.row(work, WEIGHTS + i)
        total = total + simd.row(work, IMPORTANCE + i) * (simd.absolute(error) if by_magnitude else error * error)
    return total


@inlined
def searched_code(work, lane, i, top):
    """The code the search itself gave weight `i` of a lane: what stays where the stored scale rounds to zero."""
    return code_in_range(work[INVERSE, lane], work[ORIGIN, lane], work[WEIGHTS + i, lane], top)


@inlined
def code_in_range(inverse, origin, weight, top):
    """The code a range gives a weight."""
    return max(0, min(top, nearest_int(inverse * (weight - origin))))


# --- scale alone: Q6_K, Q4_0, Q5_0, Q3_K with importance ----------------------------------------------------------


@inlined
def search_scale(work, count, limit):
    """Scale of weights ~ scale * code, code in -limit..limit-1 (make_qx_quants with rmse_type 1).

    Tries nineteen ranges and keeps the one that explains most weighted energy. SCALE receives the result, INVERSE
    what gives the codes again; both are zero for a group that counts as all zero.
    """
    zero = simd.zeros_like(simd.row(work, WEIGHTS))
    extreme, magnitude = extremes(work, count)
    for i in range(count):
        simd.set_row(work, CODES + i, simd.row(work, IMPORTANCE + i) * simd.row(work, WEIGHTS + i))
    something = magnitude >= SMALLEST
    best_inverse = simd.select(something, f32(-limit) / extreme, zero)
    sum_cw, sum_cc = _energy(work, count, limit, best_inverse, True, True)
    scale = simd.select(sum_cc == zero, zero, sum_cw / sum_cc)
    best = scale * sum_cw
    for shift in range(-9, 10):
        if shift == 0:
            continue
        inverse = simd.select(something, -(f32(limit) + f32(0.1) * f32(shift)) / extreme, zero)
        # the extreme is scaled to -(limit + shift / 10), its opposite to the same above zero: few need both bounds
        if shift <= -6:
            sum_cw, sum_cc = _energy(work, count, limit, inverse, False, False)
        elif shift <= 4:
            sum_cw, sum_cc = _energy(work, count, limit, inverse, False, True)
        else:
            sum_cw, sum_cc = _energy(work, count, limit, inverse, True, True)
        better = (sum_cc > zero) & (sum_cw * sum_cw > best * sum_cc)
        best_inverse = simd.select(better, inverse, best_inverse)
        scale = simd.select(better, sum_cw / sum_cc, scale)
        best = simd.select(better, scale * sum_cw, best)
    simd.set_row(work, SCALE, simd.select(something, scale, zero))
    simd.set_row(work, INVERSE, best_inverse)


@inlined
def extremes(work, count):
    """The weight of largest magnitude in each lane, the first of several, and that magnitude."""
    extreme = magnitude = simd.zeros_like(simd.row(work, WEIGHTS))
    for i in range(count):
        w = simd.row(work, WEIGHTS + i)
        larger = simd.absolute(w) > magnitude
        extreme, magnitude = simd.select(larger, w, extreme), simd.select(larger, simd.absolute(w), magnitude)
    return extreme, magnitude


@merged
def _energy(work, count, limit, inverse, below, above):
    """Importance-weighted sums of codes x weights and of codes squared.

    What is scaled stays within a step of the limit, so rounding is always plain; `below` and `above` say where a code
    may be past its range. A NaN makes both sums NaN or, bounded, the first: no such range is taken.
    """
    sum_cw = sum_cc = simd.zeros_like(inverse)
    for i in range(count):
        code = simd.round_half_even(inverse * simd.row(work, WEIGHTS + i))
        if below:
            code = simd.maximum(code, f32(-limit))
        if above:
            code = at_most(code, f32(limit - 1))
        sum_cw = sum_cw + simd.row(work, CODES + i) * code
        sum_cc = sum_cc + simd.row(work, IMPORTANCE + i) * code * code
    return sum_cw, sum_cc
