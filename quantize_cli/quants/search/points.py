"""The best codebook points for sixteen short vectors of weights: the inner loop of every IQ search.

Two lanes are searched together, one in each half of a vector, eight points of each at a time. A point's distance is
the sum, in order, of one table entry per weight, so that a step costs a shift, a look-up and an addition.
"""

import numpy as np

from quantize_cli.jit.kernel import inlined, merged
from quantize_cli.jit.simd import all_lanes, load, select, splat, store
from quantize_cli.quants.search.halves import (
    add_up,
    halves,
    high_bits,
    least_of_halves,
    load_halves,
    low_bits,
    lowest_bit,
)

f32 = np.float32

TABLES = 4
"""Tables of eight entries for each lane: one weight's eight levels, or two weights' four levels each."""

_FARTHEST = f32(np.finfo(np.float32).max)


@inlined
def spread(work, row, length, entries):
    """Repeat each of `length` values of every lane, from work[row] on, over the entries of its tables (64, 8)."""
    for lane in range(16):
        for table in range(TABLES):
            low, high = work[row + table * length // TABLES, lane], work[row + (2 * table + 1) * length // 8, lane]
            for i in range(4):
                entries[TABLES * lane + table, i] = low
                entries[TABLES * lane + table, 4 + i] = high


@inlined
def nearest_points(length, wanted, scale, trial, levels, weights, costs, lists, rows, picks, pick, queue, least, words):
    """picks[pick, lane] = the point of least sum of (cost * e) * e, e = scale * level - weight, the first of equals.

    The candidates are those that a Codebook lists for combination wanted[0, lane]; lanes that have none keep what is
    there. `weights` and `costs` are spread, scale[trial] has each lane's scale, `levels` (16, 8) the values of codes
    in table order; `queue` (18,), `least` (9, 16) and `words` (8, 16) are room to work in. Gives a bit for each lane
    that is left to `settle`.
    """
    short, pairs = _line_up(wanted, lists, queue)
    for pair in range(pairs):
        a, b = queue[2 * pair], queue[2 * pair + 1]
        tables = _tables(scale, trial, levels, weights, costs, a, b)
        a, b = lists[wanted[0, a]], lists[wanted[0, b]]
        word = load_halves(rows, a >> 8, b >> 8)
        best = add_up(length, tables, word)
        best = select(best < _FARTHEST, best, splat(_FARTHEST))
        if pair >= short:
            a_last, b_last = (a >> 8) + (a & 255) - 1, (b >> 8) + (b & 255) - 1
            for turn in range(1, max(a & 255, b & 255)):
                candidate = load_halves(rows, min((a >> 8) + turn, a_last), min((b >> 8) + turn, b_last))
                distance = add_up(length, tables, candidate)
                nearer = distance < best
                best, word = select(nearer, distance, best), select(nearer, candidate, word)
        store(least, pair, 0, best)
        store(words, pair, 0, word)
    found = least_of_halves(least)
    store(least, 8, 0, found)
    left = 0
    for pair in range(pairs):
        a, b = queue[2 * pair], queue[2 * pair + 1]
        here = load(least, pair, 0) == halves(least[8, pair], least[8, pair + 8])
        low, high = low_bits(here), high_bits(here)
        picks[pick, a], picks[pick, b] = words[pair, lowest_bit(low)], words[pair, 8 + lowest_bit(high)]
        if pair >= short:
            left |= ((low & (low - 1)) != 0) << a | ((high & (high - 1)) != 0) << b
    return left if all_lanes(found < _FARTHEST) else 0xFFFF


@merged
def _line_up(wanted, lists, queue):
    """Queue the lanes to search, those with one row first; give how many pairs are of these, and how many there are.

    So the loop over rows is as long for most pairs as for those before. The last lane may be there twice.
    """
    short, long = 0, 17
    for lane in range(16):
        rows = lists[wanted[0, lane]] & 255
        queue[short] = queue[long] = lane
        short += rows == 1
        long -= rows > 1
    total = short
    while long < 17:
        long += 1
        queue[total] = queue[long]
        total += 1
    queue[total] = queue[max(total, 1) - 1]
    return short // 2, (total + 1) // 2


@merged
def _tables(scale, trial, levels, weights, costs, a, b):
    """What each level of each weight would add to the distance, in lane `a` and in lane `b`."""
    value = halves(scale[trial, a], scale[trial, b]) * load_halves(levels, a, b)
    a, b = TABLES * a, TABLES * b
    e0 = value - load_halves(weights, a, b)
    e1 = value - load_halves(weights, a + 1, b + 1)
    e2 = value - load_halves(weights, a + 2, b + 2)
    e3 = value - load_halves(weights, a + 3, b + 3)
    return (
        load_halves(costs, a, b) * e0 * e0,
        load_halves(costs, a + 1, b + 1) * e1 * e1,
        load_halves(costs, a + 2, b + 2) * e2 * e2,
        load_halves(costs, a + 3, b + 3) * e3 * e3,
    )


@inlined
def settle(length, wanted, scale, trial, levels, weights, costs, lists, rows, picks, pick, left):
    """Search one by one for the lanes in `left`, where points in different rows are equally near: the first counts.

    Gives whether a list has no point at a finite distance: the reference stops there.
    """
    lost = False
    for lane in range(16):
        entry, best = lists[wanted[0, lane]], _FARTHEST
        if left >> lane & 1 == 0 or entry & 255 == 0:
            continue
        for at in range(8 * (entry & 255)):
            word, total = rows[(entry >> 8) + at // 8, at % 8], f32(0)
            for i in range(length):
                table, slot = TABLES * lane + i * TABLES // length, word >> 4 * i & 7
                error = scale[trial, lane] * levels[lane, slot] - weights[table, slot]
                total += costs[table, slot] * error * error
            if total < best:
                best, picks[pick, lane] = total, word
        lost |= best == _FARTHEST
    return lost
