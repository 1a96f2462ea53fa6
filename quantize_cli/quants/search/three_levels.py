"""Where to cut sorted weights into three levels, for sixteen groups at once, one in each lane.

A workspace is a float32 array (WORK_ROWS, 16): a group's i-th weight stands in row WEIGHTS + i of its lane, what an
error in it costs in row COSTS + i. Sorting leaves the weights in rows SORTED + i and their costs in rows PRICES + i.
Every pair of cuts, after i and after j >= i weights, is tried with every shift; SCALE receives the best scale, CHOSEN
(as float) the cuts' number (i * CUTS + j) * CUTS + the number of the shift, or -1 where nothing explains any energy.
"""

import numpy as np

from quantize_cli.jit.kernel import inlined
from quantize_cli.jit.simd import any_lane, load, select, splat, store

f32 = np.float32

WEIGHTS, COSTS, SORTED, PRICES, SCALE, CHOSEN = 0, 32, 64, 96, 128, 129
_PREFIX = 130
_PREFIX_ROWS = 33
WORK_ROWS = _PREFIX + 6 * _PREFIX_ROWS
CUTS = 64
_LOWEST = f32(np.finfo(np.float32).min)


@inlined
def sort_lanes(work, count, order):
    """SORTED, PRICES and order (count, 16) int32: weights ascending, equal ones as they stood (qsort is stable).

    Batcher's odd-even merge sort makes the same exchanges in every lane. The reference calls qsort, which is stable in
    glibc; equal weights of different cost would otherwise sum in another order.
    """
    for i in range(count):
        store(work, SORTED + i, 0, load(work, WEIGHTS + i, 0))
        store(order, i, 0, splat(i))
    half = 1
    while half < count:
        gap = half
        while gap > 0:
            for start in range(gap % half, count - gap, 2 * gap):
                for i in range(start, min(start + gap, count - gap)):
                    if i // (2 * half) == (i + gap) // (2 * half):
                        _exchange(work, order, i, i + gap)
            gap //= 2
        half *= 2
    for i in range(count):
        for lane in range(16):
            work[PRICES + i, lane] = work[COSTS + order[i, lane], lane]


@inlined
def _exchange(work, order, i, j):
    a, b, a_at, b_at = load(work, SORTED + i, 0), load(work, SORTED + j, 0), load(order, i, 0), load(order, j, 0)
    swap = (a > b) | ((a == b) & (a_at > b_at))
    store(work, SORTED + i, 0, select(swap, b, a))
    store(work, SORTED + j, 0, select(swap, a, b))
    store(order, i, 0, select(swap, b_at, a_at))
    store(order, j, 0, select(swap, a_at, b_at))


@inlined
def _beats(sum_xq, sum_qq, best):
    """Where these cuts explain more energy than the best so far."""
    return (sum_qq > f32(0)) & (sum_xq * sum_xq > best * sum_qq)


@inlined
def _better(sum_xq, sum_qq, number, best, scale, chosen):
    """The best so far, or these cuts where they explain more energy.

    Each call waits for the one before, for some 20 cycles: it is made only where one of a few cuts beats the best.
    """
    better = _beats(sum_xq, sum_qq, best)
    scale = select(better, sum_xq / sum_qq, scale)
    return select(better, scale * sum_xq, best), scale, select(better, splat(f32(number)), chosen)


@inlined
def cut_together(work, count):
    """IQ1_S: one shift for the group, 0 up or 1 down; the sums of each level are differences of prefix sums."""
    x, w, up_x, up_w, down_x, down_w = (
        _PREFIX, _PREFIX + 33, _PREFIX + 66, _PREFIX + 99, _PREFIX + 132, _PREFIX + 165,
    )  # fmt: skip
    sum_x = sum_w = splat(f32(0))
    store(work, x, 0, sum_x)
    store(work, w, 0, sum_w)
    for i in range(count):
        price = load(work, PRICES + i, 0)
        sum_x, sum_w = sum_x + price * load(work, SORTED + i, 0), sum_w + price
        store(work, x + i + 1, 0, sum_x)
        store(work, w + i + 1, 0, sum_w)
    for j in range(count + 1):
        rest_x, rest_w = sum_x - load(work, x + j, 0), sum_w - load(work, w + j, 0)
        store(work, up_x + j, 0, rest_x * f32(1.125))
        store(work, up_w + j, 0, rest_w * f32(1.125) * f32(1.125))
        store(work, down_x + j, 0, rest_x * f32(0.875))
        store(work, down_w + j, 0, rest_w * f32(0.875) * f32(0.875))
    best, scale, chosen = splat(_LOWEST), splat(f32(0)), splat(f32(-1))
    for i in range(count + 1):
        low_x, low_w = load(work, x + i, 0), load(work, w + i, 0)
        up_low_x, up_low_w = low_x * f32(-0.875), low_w * f32(-0.875) * f32(-0.875)
        down_low_x, down_low_w = low_x * f32(-1.125), low_w * f32(-1.125) * f32(-1.125)
        for j in range(i, count + 1):
            middle_x = (load(work, x + j, 0) - low_x) * f32(0.125)
            middle_w = (load(work, w + j, 0) - low_w) * f32(0.125) * f32(0.125)
            number = (i * CUTS + j) * CUTS
            up_xq = up_low_x + middle_x + load(work, up_x + j, 0)
            up_qq = up_low_w + middle_w + load(work, up_w + j, 0)
            down_xq = down_low_x - middle_x + load(work, down_x + j, 0)
            down_qq = down_low_w + middle_w + load(work, down_w + j, 0)
            if any_lane(_beats(up_xq, up_qq, best) | _beats(down_xq, down_qq, best)):
                best, scale, chosen = _better(up_xq, up_qq, number, best, scale, chosen)
                best, scale, chosen = _better(down_xq, down_qq, number + 1, best, scale, chosen)
    store(work, SCALE, 0, scale)
    store(work, CHOSEN, 0, chosen)


@inlined
def cut_in_halves(work, count, order):
    """IQ1_M: a shift for each half of the group, numbered 2 * first + second.

    Levels are one apart, so a half's weighted sum of levels is its total at the highest less the sums below each cut.
    """
    for half in range(2):
        sum_x = sum_w = splat(f32(0))
        x, w = _PREFIX + 66 * half, _PREFIX + 66 * half + 33
        store(work, x, 0, sum_x)
        store(work, w, 0, sum_w)
        for i in range(count):
            here = load(order, i, 0) < count // 2
            if half == 1:
                here = load(order, i, 0) >= count // 2
            price = load(work, PRICES + i, 0)
            sum_x = select(here, sum_x + price * load(work, SORTED + i, 0), sum_x)
            sum_w = select(here, sum_w + price, sum_w)
            store(work, x + i + 1, 0, sum_x)
            store(work, w + i + 1, 0, sum_w)
    best, scale, chosen = splat(_LOWEST), splat(f32(0)), splat(f32(-1))
    for i in range(count + 1):
        for j in range(i, count + 1):
            number = (i * CUTS + j) * CUTS
            first_up_x, first_up_w, first_down_x, first_down_w = _half_sums(work, _PREFIX, count, i, j)
            up_x, up_w, down_x, down_w = _half_sums(work, _PREFIX + 66, count, i, j)
            both, first, other, neither = (
                first_up_x + up_x,
                first_up_x + down_x,
                first_down_x + up_x,
                first_down_x + down_x,
            )
            both_w, first_w, other_w, neither_w = (
                first_up_w + up_w, first_up_w + down_w, first_down_w + up_w, first_down_w + down_w,
            )  # fmt: skip
            beaten = _beats(both, both_w, best) | _beats(first, first_w, best)
            if any_lane(beaten | _beats(other, other_w, best) | _beats(neither, neither_w, best)):
                best, scale, chosen = _better(both, both_w, number, best, scale, chosen)
                best, scale, chosen = _better(first, first_w, number + 1, best, scale, chosen)
                best, scale, chosen = _better(other, other_w, number + 2, best, scale, chosen)
                best, scale, chosen = _better(neither, neither_w, number + 3, best, scale, chosen)
    store(work, SCALE, 0, scale)
    store(work, CHOSEN, 0, chosen)


@inlined
def _half_sums(work, row, count, i, j):
    """Weighted sums of weights x levels and of levels squared in one half, shifted up and down."""
    total_x, total_w = load(work, row + count, 0), load(work, row + 33 + count, 0)
    below = load(work, row + i, 0) + load(work, row + j, 0)
    low, high = load(work, row + 33 + i, 0), load(work, row + 33 + j, 0)
    up = total_w * f32(1.125) * f32(1.125) + low * f32(0.75) + high * f32(-1.25)
    down = total_w * f32(0.875) * f32(0.875) + low * f32(1.25) + high * f32(-0.75)
    return total_x * f32(1.125) - below, up, total_x * f32(0.875) - below, down
