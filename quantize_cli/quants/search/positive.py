"""The reference's search for the scale of a few non-negative numbers: the scales of a super-block's groups.

Sixteen super-blocks are searched at once, one in each lane of a workspace (see scales.py).
"""

import numpy as np

from quantize_cli.jit.kernel import inlined, merged
from quantize_cli.jit.simd import any_lane, maximum, minimum, nearest, row, select, set_row, to_float, zeros_like
from quantize_cli.quants.search.scales import SMALLEST

f32 = np.float32


@inlined
def search_positive_scale(work, values, importance, codes, count, top):
    """Scale of values ~ scale * code, code in 0..top (make_qp_quants): range search, then coordinate descent.

    `values`, `importance` and `codes` are the first of `count` rows each; the last receive the codes as the byte the
    reference has for them.
    """
    zero = zeros_like(row(work, values))
    largest = zero
    for i in range(count):
        largest = maximum(largest, row(work, values + i))
    silent = largest < SMALLEST
    inverse = _best_inverse(work, values, importance, count, top, largest)
    sum_cv = sum_cc = zero
    for i in range(count):
        v, cost = row(work, values + i), row(work, importance + i)
        found = minimum(nearest(inverse * v), top)
        set_row(work, codes + i, select(silent, zero, to_float(found & 255)))
        c = to_float(found)
        sum_cv, sum_cc = sum_cv + cost * v * c, sum_cc + cost * c * c
    # sums of zero are never exceeded, so that a silent lane stays
    sum_cv, sum_cc = select(silent, zero, sum_cv), select(silent, zero, sum_cc)
    for _ in range(5):
        settled = True
        for i in range(count):
            v, cost, c = row(work, values + i), row(work, importance + i), row(work, codes + i)
            cv = cost * v
            rest_cv, rest_cc = sum_cv - cv * c, sum_cc - cost * c * c
            found = minimum(nearest(v * rest_cc / rest_cv), top)
            moved = to_float(found)
            moves = (rest_cv > f32(0)) & (rest_cc > f32(0)) & ((moved < c) | (moved > c))
            if any_lane(moves):
                moved_cv, moved_cc = rest_cv + cv * moved, rest_cc + cost * moved * moved
                better = moves & (moved_cv * moved_cv * sum_cc > sum_cv * sum_cv * moved_cc)
                set_row(work, codes + i, select(better, to_float(found & 255), c))
                sum_cv, sum_cc = select(better, moved_cv, sum_cv), select(better, moved_cc, sum_cc)
                settled = settled and not any_lane(better)
        if settled:
            break
    return select(sum_cc > f32(0), sum_cv / sum_cc, zero)


@merged
def _best_inverse(work, values, importance, count, top, largest):
    """Of nine ranges, the one with the smallest weighted squared error, the plain one first."""
    best_inverse = f32(top) / largest
    scale, best = f32(1) / best_inverse, zeros_like(largest)
    for i in range(count):
        v = row(work, values + i)
        # the plain range goes through a byte, which shows where a value is negative
        difference = v - scale * to_float(nearest(best_inverse * v) & 255)
        best = best + row(work, importance + i) * difference * difference
    for turn in range(8):
        shift = turn - 4 if turn < 4 else turn - 3  # -4..-1, 1..4
        inverse = (f32(0.1) * f32(shift) + f32(top)) / largest
        scale, error = f32(1) / inverse, zeros_like(largest)
        for i in range(count):
            v = row(work, values + i)
            difference = v - scale * to_float(minimum(nearest(inverse * v), top))
            error = error + row(work, importance + i) * difference * difference
        better = error < best
        best_inverse, best = select(better, inverse, best_inverse), select(better, error, best)
    return best_inverse
