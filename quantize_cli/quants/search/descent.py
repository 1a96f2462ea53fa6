"""The reference's search for a scale by coordinate descent, for sixteen groups of weights at once (see scales.py).

Of groups of normal weights three in four stay as the plain range has them. `begin_descent` finds those without a step
from one code to the next; the others can then be put together and descended.
"""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined
from quantize_cli.quants.search.scales import CODES, SCALE, SMALLEST, WEIGHTS, extremes

f32 = np.float32


@inlined
def search_scale_by_descent(work, count, limit):
    """Scale of weights ~ scale * code, code in -limit..limit-1 (make_q3_quants); a weight costs its square.

    Starts from the range the largest magnitude asks for; then up to five times moves each code, in turn, to where the
    scale of the others puts it, if that explains more. SCALE and CODES receive the result.
    """
    sum_cw, sum_cc = _start(work, count, limit, False)
    for _ in range(5):
        settled = True
        for i in range(count):
            w, code = simd.row(work, WEIGHTS + i), simd.row(work, CODES + i)
            square = w * w
            rest_cw, rest_cc, moved, differs = _move(w, code, sum_cw, sum_cc, limit)
            if simd.any_lane(differs):
                moved_cw, moved_cc = rest_cw + square * w * moved, rest_cc + square * moved * moved
                better = moved_cw * moved_cw * sum_cc > sum_cw * sum_cw * moved_cc
                better = better & differs & (moved_cc > f32(0))
                simd.set_row(work, CODES + i, simd.select(better, moved, code))
                sum_cw, sum_cc = simd.select(better, moved_cw, sum_cw), simd.select(better, moved_cc, sum_cc)
                settled = settled and not simd.any_lane(better)
        if settled:
            break
    simd.set_row(work, SCALE, _scale(sum_cw, sum_cc))


@inlined
def begin_descent(work, count, limit):
    """SCALE = the scales of the plain range; gives, as bits, the lanes where the descent may find a better one.

    As long as no code moves the sums stay, so that the first round's questions can be asked all at once.
    """
    sum_cw, sum_cc = _start(work, count, limit, True)
    moving = sum_cw < sum_cw
    for i in range(count):
        _, _, _, differs = _move(simd.row(work, WEIGHTS + i), simd.row(work, CODES + i), sum_cw, sum_cc, limit)
        moving = moving | differs
    simd.set_row(work, SCALE, _scale(sum_cw, sum_cc))
    return simd.lane_bits(moving)


@inlined
def _start(work, count, limit, plainly):
    """The codes of the plain range; gives their sums of codes x weights and of codes squared.

    A group that counts as all zero gets the lowest code and sums of zero, which no move can exceed. `plainly` is a
    flag: a kernel that is handed a function is one numba cannot keep on disk.
    """
    extreme, magnitude = extremes(work, count)
    something, zero = magnitude >= SMALLEST, simd.zeros_like(magnitude)
    inverse = f32(-limit) / extreme
    sum_cw = sum_cc = zero
    for i in range(count):
        w = simd.row(work, WEIGHTS + i)
        code = _first_code(inverse * w, limit) if plainly else _code(inverse * w, limit)
        simd.set_row(work, CODES + i, simd.select(something, code, zero - f32(limit)))
        sum_cw, sum_cc = sum_cw + w * w * w * code, sum_cc + w * w * code * code
    return simd.select(something, sum_cw, zero), simd.select(something, sum_cc, zero)


@inlined
def _move(w, code, sum_cw, sum_cc, limit):
    """Both sums without one code, the code the scale of these asks for, and where that is another."""
    square = w * w
    rest_cw, rest_cc = sum_cw - square * w * code, sum_cc - square * code * code
    moved = _code(w * rest_cc / rest_cw, limit)
    return rest_cw, rest_cc, moved, ((moved > code) | (moved < code)) & (rest_cw > f32(0))


@inlined
def _scale(sum_cw, sum_cc):
    return simd.select(sum_cc > f32(0), sum_cw / sum_cc, simd.zeros_like(sum_cw))


@inlined
def _code(scaled, limit):
    return simd.to_float(simd.maximum(simd.minimum(simd.nearest(scaled), limit - 1), -limit))


@inlined
def _first_code(scaled, limit):
    """The same of the plain range, which ends at -limit; a NaN stays, and makes of the sums what any code would."""
    code, top = simd.round_half_even(scaled), f32(limit - 1)
    return simd.select(code > top, simd.zeros_like(code) + top, code)
