"""The reference's search for the scale of a few non-negative numbers: the scales of a super-block's groups."""

import numpy as np

from quantize_cli.kernel import inlined
from quantize_cli.quants._search import SMALLEST, nearest_int

f32 = np.float32


@inlined
def search_positive_scale(values, importance, top, code):
    """Scale of values ~ scale * code, code in 0..top (make_qp_quants): range search, then coordinate descent."""
    count = len(values)
    largest = f32(0)
    for i in range(count):
        largest = max(largest, values[i])
    if largest < SMALLEST:
        code[:count] = 0
        return f32(0)
    inverse = _best_inverse(values, importance, top, largest)
    sum_cv = sum_cc = f32(0)
    for i in range(count):
        c = min(top, nearest_int(inverse * values[i]))
        code[i] = c
        sum_cv += importance[i] * values[i] * f32(c)
        sum_cc += importance[i] * f32(c) * f32(c)
    for _ in range(5):
        changed = False
        for i in range(count):
            iv, c = importance[i] * values[i], f32(code[i])
            rest_cv, rest_cc = sum_cv - iv * c, sum_cc - importance[i] * c * c
            if rest_cv > 0 and rest_cc > 0:
                moved = min(top, nearest_int(values[i] * rest_cc / rest_cv))
                if moved != code[i]:
                    rest_cv += iv * f32(moved)
                    rest_cc += importance[i] * f32(moved) * f32(moved)
                    if rest_cv * rest_cv * sum_cc > sum_cv * sum_cv * rest_cc:
                        code[i], sum_cv, sum_cc, changed = moved, rest_cv, rest_cc, True
        if not changed:
            break
    return sum_cv / sum_cc if sum_cc > 0 else f32(0)


@inlined
def _best_inverse(values, importance, top, largest):
    """Of nine ranges, the one with the smallest weighted squared error, the plain one first."""
    best_inverse, best = f32(top) / largest, f32(0)
    for turn in range(9):
        shift = 0 if turn == 0 else turn - 5 if turn < 5 else turn - 4  # 0, -4..-1, 1..4
        inverse = f32(top) / largest if turn == 0 else (f32(0.1) * f32(shift) + f32(top)) / largest
        scale, error = f32(1) / inverse, f32(0)
        for i in range(len(values)):
            c = nearest_int(inverse * values[i])
            # the plain range goes through a byte, which shows where a value is negative
            difference = values[i] - scale * f32(c & 255 if turn == 0 else min(top, c))
            error += importance[i] * difference * difference
        if turn == 0 or error < best:
            best_inverse, best = inverse, error
    return best_inverse
