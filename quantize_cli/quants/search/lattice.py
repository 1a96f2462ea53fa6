"""The search for the scale and codebook points of sixteen groups of magnitudes, one group in each lane.

A workspace is a float32 array (WORK_ROWS, 16): a group's i-th magnitude stands in row WEIGHTS + i of its lane, what an
error in it costs in row COSTS + i, the root of that in row ROOTS + i. SCALE receives the result.
"""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined
from quantize_cli.quants.search.points import TABLES, nearest_points, settle, spread
from quantize_cli.quants.search.spans import SAME, level_tables, search_spans

f32 = np.float32

WEIGHTS, COSTS, ROOTS, _FITTED, SCALE = 0, 32, 64, 96, 128
WORK_ROWS = 129
STRAYS, ALL_IF_ANY, ALL = range(3)
_SMALLEST = f32(1e-15)


@inlined
def search_scale(length, base, search, book, work, room, words, signs):
    """SCALE of each lane, words[run] the index of the point of each run of `length` magnitudes.

    Where the best scale is negative, its sign goes to `signs`. Gives whether a lane was lost: no point at a finite
    distance, or a scale that is no number.
    """
    zero = simd.splat(f32(0))
    reach = simd.load(work, WEIGHTS, 0)
    for i in range(1, search.group):
        reach = simd.maximum(reach, simd.load(work, WEIGHTS + i, 0))
    scale, active = reach / f32(2 * base - 1), reach >= search.smallest
    if search.fitted:
        scale = _fit(work, search.group, base + 1)
        reach = scale * f32(base)
        active = active & (simd.select(reach <= zero, simd.splat(0), simd.splat(1)) == 1)  # a NaN is searched, and lost
    scale, lost = _best_range(length, base, search, book, work, room, words, reach, scale, active)
    strays = simd.splat(0)
    for run in range(search.group // length):
        strays = strays | simd.load(words, run, 0)
    again = active & (scale > zero)
    if search.again != ALL:
        again = again & (strays < 0)
    if simd.any_lane(again):
        scale, lost_again = _round_again(length, base, search, book, work, words, scale, again)
        lost |= lost_again
    _turn(search, signs, scale < zero, active)
    scale = simd.select(active, simd.select(scale < zero, scale * f32(-1), scale), zero)
    for run in range(search.group // length):
        _index(length, base, book, words, run)
    simd.store(work, SCALE, 0, scale)
    return lost or not simd.all_lanes(scale >= zero)


@inlined
def _turn(search, signs, turned, active):
    """Turn the signs of some lanes, and clear those of lanes that are not active."""
    stored = 127 if search.even else 255
    for i in range(search.group // 8):
        sign = simd.load(signs, i, 0)
        sign = simd.select(turned, sign ^ stored, sign)
        simd.store(signs, i, 0, simd.select(active, sign, simd.splat(0)))


@inlined
def _best_range(length, base, search, book, work, room, words, reach, scale, active):
    """The scale that explains most weighted energy, words[run] the points found with it, and whether a lane is lost."""
    lists, rows, spare, _ = book
    runs, steps = search.group // length, 2 * search.reach + 1
    tables, places = level_tables(length)
    parts, slack, starts = (
        np.zeros((16 * runs, 32), np.float32),
        np.empty((runs, 16), np.float32),
        np.empty((runs, 16), np.uint32),
    )
    wanted, picks = np.empty((steps * runs, 16), np.uint32), np.empty((steps * runs, 16), np.int32)
    trials, inverses = np.empty((steps, 16), np.float32), np.empty((steps, 16), np.float32)
    for turn in range(steps):
        inverse = simd.splat(f32(2 * base - 1) + search.step * f32(turn - search.reach)) / reach
        simd.store(inverses, turn, 0, inverse)
        simd.store(trials, turn, 0, f32(1) / inverse)
    for run in range(runs):
        start = simd.splat(1)
        for turn in range(steps):
            at = run * steps + turn
            _round(length, base, work, run, simd.load(inverses, turn, 0), active, wanted, at, picks, at)
            if turn > 0:
                same = simd.load(wanted, at, 0) == simd.load(wanted, at - 1, 0)
                start = simd.select(same, start, start | 1 << turn)
                simd.store(picks, at, 0, simd.select(same, simd.splat(SAME), simd.load(picks, at, 0)))
        simd.store(starts, run, 0, start)
        _part(length, base, work, run, simd.load(trials, 0, 0), simd.load(trials, steps - 1, 0), parts, slack)
    lost = search_spans(length, tables, places, lists, rows, spare, wanted, starts, trials, slack, parts, picks, *room)
    sums = np.zeros((2 * steps, 16), np.float32)
    for run in range(runs):
        word = simd.splat(0)
        for turn in range(steps):
            sum_xq, sum_qq = simd.load(sums, 2 * turn, 0), simd.load(sums, 2 * turn + 1, 0)
            pick = simd.load(picks, run * steps + turn, 0)
            word = simd.select(pick == SAME, word, pick)
            simd.store(picks, run * steps + turn, 0, word)
            sum_xq, sum_qq = _add_energy(length, base, work, run, word, sum_xq, sum_qq)
            simd.store(sums, 2 * turn, 0, sum_xq)
            simd.store(sums, 2 * turn + 1, 0, sum_qq)
    return _choose(search, runs, steps, sums, picks, scale, words), lost


@inlined
def _part(length, base, work, run, largest, smallest, parts, slack):
    """Each lane's costs, 2 c x and x of a run side by side, and what s A - B may be off by, both candidates together.

    The bound is 46 halves of a unit in the last place of the sum of c (s q + |x|)^2 / s at the highest q and the s for
    which it is most; 64 are allowed. Where something could underflow or overflow nothing is sure.
    """
    total = total_x = total_xx = simd.splat(f32(0))
    for i in range(length):
        w, cost = simd.load(work, WEIGHTS + run * length + i, 0), simd.load(work, ROOTS + run * length + i, 0)
        magnitude = simd.absolute(w)
        total, total_x = total + cost, total_x + cost * magnitude
        total_xx = total_xx + cost * magnitude * magnitude
    top = f32(2 * base - 1)
    bound = (largest * total * top * top + total_x * f32(2) * top + total_xx / smallest) * f32(2**-18)
    tame = (smallest > f32(1e-10)) & (largest < f32(1e10)) & (total > f32(1e-15)) & (bound < f32(1e12))
    simd.store(slack, run, 0, simd.select(tame, bound, simd.splat(f32(np.inf))))
    for lane in range(16):
        for i in range(length):
            cost, w = work[ROOTS + run * length + i, lane], work[WEIGHTS + run * length + i, lane]
            row = 16 * run + lane
            parts[row, i], parts[row, 8 + i], parts[row, 16 + i] = cost, f32(2) * cost * w, w


@inlined
def _choose(search, runs, steps, sums, picks, scale, words):
    """The scale of the range that explains most energy, and its points in `words`; `scale` where none explains any."""
    best, chosen = simd.splat(f32(0)), simd.splat(-1)
    for turn in range(steps):
        sum_xq, sum_qq = simd.load(sums, 2 * turn, 0), simd.load(sums, 2 * turn + 1, 0)
        better = (sum_qq > f32(0)) & (sum_xq * sum_xq > best * sum_qq)
        scale = simd.select(better, sum_xq / sum_qq, scale)
        best, chosen = simd.select(better, scale * sum_xq, best), simd.select(better, simd.splat(turn), chosen)
    turns = np.empty((1, 16), np.int32)
    simd.store(turns, 0, 0, chosen)
    for lane in range(16):
        turn = turns[0, lane]
        for run in range(runs):
            words[run, lane] = picks[run * steps + turn, lane] if turn >= 0 else search.unchosen
    return scale


@inlined
def _round_again(length, base, search, book, work, words, scale, again):
    """Points and scale once more, from the scale found, in the lanes `again`; and whether a lane is lost."""
    lists, rows, _, _ = book
    levels = np.empty((16, 8), np.float32)
    for i in range(8):
        levels[:, i] = f32(2 * (i % (32 // length)) + 1)
    weights, costs = np.empty((16 * TABLES, 8), np.float32), np.empty((16 * TABLES, 8), np.float32)
    wanted, picks, trials = np.empty((1, 16), np.uint32), np.empty((8, 16), np.int32), np.empty((8, 16), np.float32)
    queue, least, room = np.empty(18, np.uint32), np.empty((9, 16), np.float32), np.empty((8, 16), np.int32)
    sum_xq = sum_qq = simd.splat(f32(0))
    lost = False
    for run in range(search.group // length):
        spread(work, WEIGHTS + run * length, length, weights)
        spread(work, ROOTS + run * length, length, costs)
        word = simd.load(words, run, 0)
        moved = again & (word < 0) if search.again == STRAYS else again
        _round(length, base, work, run, f32(1) / scale, moved, wanted, 0, picks, run)
        simd.store(trials, run, 0, scale)
        left = nearest_points(
            length, wanted, trials, run, levels, weights, costs, lists, rows, picks, run, queue, least, room
        )
        if left != 0:
            lost |= settle(length, wanted, trials, run, levels, weights, costs, lists, rows, picks, run, left)
        word = simd.select(moved, simd.load(picks, run, 0), word)
        simd.store(words, run, 0, word)
        sum_xq, sum_qq = _add_energy(length, base, work, run, word, sum_xq, sum_qq)
    return simd.select(again & (sum_qq > f32(0)), sum_xq / sum_qq, scale), lost


@inlined
def _round(length, base, work, run, inverse, active, wanted, turn, picks, pick):
    """wanted[turn] = the combination of codes nearest to a run of magnitudes, picks[pick] the same as a word.

    In lanes that are not active it is the first of all, always a point.
    """
    number = word = simd.splat(0)
    for i in range(length - 1, -1, -1):
        scaled = (inverse * simd.load(work, WEIGHTS + run * length + i, 0) - f32(1)) * f32(0.5)
        code = simd.maximum(simd.minimum(simd.nearest(scaled), base - 1), 0)
        number, word = number * base + code, word << 4 | code
    simd.store(wanted, turn, 0, simd.select(active, number, simd.splat(0)))
    simd.store(picks, pick, 0, simd.select(active, word, simd.splat(0)))


@inlined
def _add_energy(length, base, work, run, word, sum_xq, sum_qq):
    """The weighted sums of magnitudes x levels and of levels squared, with those of one run."""
    word = word << 1
    for i in range(length):
        q = simd.to_float(simd.shift_right(word, 4 * i) & (14 if base == 8 else 6) | 1)
        cost = simd.load(work, COSTS + run * length + i, 0)
        sum_xq = sum_xq + cost * simd.load(work, WEIGHTS + run * length + i, 0) * q
        sum_qq = sum_qq + cost * q * q
    return sum_xq, sum_qq


@inlined
def _index(length, base, book, words, run):
    """Points as words -> their indices, in place."""
    number = simd.splat(0)
    for i in range(length - 1, -1, -1):
        number = number * base + (simd.shift_right(simd.load(words, run, 0), 4 * i) & (7 if base == 8 else 3))
    simd.store(words, run, 0, number)
    for lane in range(16):
        words[run, lane] = book[3][words[run, lane]]


# --- the scale without a codebook: IQ2_XXS ------------------------------------------------------------------------


@inlined
def _fit(work, count, top):
    """The scale of magnitudes ~ scale * code, code up to `top` (make_qp_quants): nine ranges, then one code at a time.

    A turned magnitude is negative and so is its code, which the reference keeps in a byte.
    """
    largest = simd.splat(f32(0))
    for i in range(count):
        largest = simd.maximum(largest, simd.load(work, WEIGHTS + i, 0))
    inverse = _fitted_inverse(work, count, top, largest)
    sum_xq = sum_qq = simd.splat(f32(0))
    for i in range(count):
        w, cost = simd.load(work, WEIGHTS + i, 0), simd.load(work, COSTS + i, 0)
        code = simd.minimum(simd.nearest(inverse * w), top)
        simd.store(work, _FITTED + i, 0, simd.to_float(code & 255))
        level = simd.to_float(code)
        sum_xq, sum_qq = sum_xq + cost * w * level, sum_qq + cost * level * level
    moving = largest >= _SMALLEST
    for _ in range(5):
        moving, sum_xq, sum_qq = _descend(work, count, top, moving, sum_xq, sum_qq)
        if not simd.any_lane(moving):
            break
    fitted = (sum_qq > f32(0)) & (largest >= _SMALLEST)
    return simd.select(fitted, sum_xq / sum_qq, simd.splat(f32(0)))


@inlined
def _fitted_inverse(work, count, top, largest):
    """Of nine ranges, the one with the smallest weighted squared error, the plain one first."""
    best_inverse = best = largest
    for turn in range(9):
        shift = 0 if turn == 0 else turn - 5 if turn < 5 else turn - 4  # 0, -4..-1, 1..4
        inverse = simd.splat(f32(0.1) * f32(shift) + f32(top)) / largest
        scale, error = f32(1) / inverse, simd.splat(f32(0))
        for i in range(count):
            w = simd.load(work, WEIGHTS + i, 0)
            code = simd.nearest(inverse * w)
            code = code & 255 if turn == 0 else simd.minimum(code, top)
            difference = w - scale * simd.to_float(code)
            error = error + simd.load(work, COSTS + i, 0) * difference * difference
        if turn == 0:
            best_inverse, best = inverse, error
        better = error < best
        best_inverse, best = simd.select(better, inverse, best_inverse), simd.select(better, error, best)
    return best_inverse


@inlined
def _descend(work, count, top, moving, sum_xq, sum_qq):
    """Move each code where that explains more energy, in the lanes `moving`; gives the lanes that changed."""
    changed = simd.splat(0)
    for i in range(count):
        w, cost, code = simd.load(work, WEIGHTS + i, 0), simd.load(work, COSTS + i, 0), simd.load(work, _FITTED + i, 0)
        rest_xq, rest_qq = sum_xq - cost * w * code, sum_qq - cost * code * code
        target = simd.minimum(simd.nearest(w * rest_qq / rest_xq), top)
        moved = simd.to_float(target)
        new_xq, new_qq = rest_xq + cost * w * moved, rest_qq + cost * moved * moved
        better = moving & (rest_xq > f32(0)) & (rest_qq > f32(0)) & ((moved < code) | (moved > code))
        better = better & (new_xq * new_xq * sum_qq > sum_xq * sum_xq * new_qq)
        sum_xq, sum_qq = simd.select(better, new_xq, sum_xq), simd.select(better, new_qq, sum_qq)
        simd.store(work, _FITTED + i, 0, simd.select(better, simd.to_float(target & 255), code))
        changed = simd.select(better, simd.splat(1), changed)
    return changed == 1, sum_xq, sum_qq
