"""The best codebook points of one run of magnitudes for many scales: searched only where a span of scales ends.

A span is a stretch of neighbouring scales s for which the run rounds to the same combination, so that all of them have
the same candidates. A candidate with levels q and costs c has the distance

    sum c (s q - x)^2  =  s (s A - B) + sum c x^2          A = sum c q^2, B = sum 2 c x q

Between two candidates s A - B differs by a straight line in s: one that is nearest at both ends of a span, by more
than any rounding, is nearest throughout. Where it is not so plain, the reference's own sum decides, in its order.
"""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, merged
from quantize_cli.quants.search import halves

f32 = np.float32

SAME = np.int32(2**31 - 1)
"""No word is this: no code has its highest bit set."""

TASKS = 16 * 31
"""A span for every one of 31 scales in every lane, which is as many as there can be."""

LONGEST, LONGEST_FOURS = 37, 8
"""Rows that the list of a combination may have: of eight codes, and of four."""

_FIRST, _LAST, _ROW, _ROWS, _SPARE, _SUMS, _, _FIELDS = np.array([0, 1, 2, 3, 4, 5, 6, 8], np.uint64)
"""Fields of a span: its ends, each 16 turns + lane; its candidates' first row, how many rows there are and how many
places are spare in the last; and the first row of their sums. Numbers here are unsigned, as numba looks at the sign
of any other index, and no loop takes a slice: counting references to those was a fifth of all time."""

_NONE, _ONE, _TWO, _EIGHT, _LANE, _TURN, _BOTH = np.array([0, 1, 2, 8, 15, 16, 257], np.uint64)

_FARTHEST = f32(np.finfo(np.float32).max)
_BEYOND = f32(1e30)


@inlined
def level_tables(length):
    """What `search_spans` asks for as `tables` (10, 16) f32 and `places` (8, 16) i32.

    Row 0 of the tables: squares of the levels in the order of a look-up, beside the levels; row 1: levels, twice; row
    2 + n: what to add to A in a row of which n places are spare. Rows of places: which of [8 costs, 8 others] each
    entry of a table is about: 4 with both sides, 4 with the first side in both halves.
    """
    tables, places = np.zeros((10, 16), np.float32), np.empty((8, 16), np.int32)
    for i in range(8):
        level = f32(2 * (i if length == 4 else i % 4) + 1)
        tables[0, i], tables[0, 8 + i] = level * level, level
        tables[1, i] = tables[1, 8 + i] = level
        for table in range(4):
            weight = table if length == 4 else 2 * table + i // 4
            places[table, i], places[table, 8 + i] = weight, 8 + weight
            places[4 + table, i] = places[4 + table, 8 + i] = weight
        tables[10 - i :, i] = _BEYOND
    return tables, places


@inlined
def span_room():
    """What `search_spans` asks for as `room`."""
    sums, keys = np.empty((2 * TASKS * LONGEST, 8), np.float32), np.zeros((TASKS + 8, 16), np.float32)
    two, order, margins = (
        np.empty((2, 16), np.float32),
        np.empty((1, 16), np.int32),
        np.zeros((2, TASKS + 16), np.float32),
    )
    spans, tasks = np.empty(8 * TASKS + 8, np.uint32), np.zeros(TASKS + 8, np.uint32)
    return sums, keys, np.zeros_like(keys), spans, tasks, two, order, margins


@inlined
def search_spans(
    length, tables, places, lists, rows, spare, wanted, starts, trials, slack, parts, picks,
    sums, least, second, spans, tasks, two, order, margins,
):  # fmt: skip
    """The points of all runs: picks[run * turns + turn, lane] for combination wanted[..] and scale trials[turn, lane].

    Where a span starts, bit `turn` of starts[run, lane] is set and picks holds the combination as a word; elsewhere it
    holds SAME, and still does where the point is that of the turn before. slack[run, lane]: by how much s A - B must
    differ to count; parts[run * 16 + lane]: costs, 2 c x and x, eight each. Gives whether a list has no point at a
    finite distance.
    """
    words, chosen, numbers, scales = rows.reshape(-1), picks.reshape(-1), order.reshape(-1), trials.reshape(-1)
    turns, lost = np.uint64(len(trials)), False
    for run in range(np.uint64(len(starts))):
        count, origin = _line_up(run, turns, lists, spare, wanted, starts, spans), _TURN * turns * run
        for task in range(count):
            tasks[task] = task
            _sum_up(length, run, spans, _FIELDS * task, tables, places, parts, rows, sums)
        while count > _NONE:
            for task in range(count):
                span = _FIELDS * tasks[task]
                _nearest_of_two(length, task, spans, span, scales, sums, least, second)
                margins[0, task] = slack[run, spans[span + _FIRST] & _LANE]
            kept = _NONE
            for eight in range(_NONE, count, _EIGHT):
                sure, same = _judge(length, eight, least, second, two, order, margins)
                for place in range(_NONE, min(_EIGHT, count - eight)):
                    at = _FIELDS * tasks[eight + place]
                    first, last, row = spans[at + _FIRST], spans[at + _LAST], _EIGHT * spans[at + _ROW]
                    if sure >> place & _BOTH == _BOTH:
                        chosen[origin + first] = words[row + numbers[place]]
                        chosen[origin + last] = words[row + numbers[_EIGHT + place]]
                    else:
                        for end in (first, last):
                            lost |= _settle(length, run, end, tables, places, parts, lists, rows, wanted, trials, picks)
                    spans[at + _FIRST], spans[at + _LAST] = first + _TURN, last - _TURN
                    tasks[kept] = tasks[eight + place]
                    kept += np.uint64((same >> place & _ONE == _NONE) & (first + _TURN < last))
            count = kept
    return lost


@merged
def _line_up(run, turns, lists, spare, wanted, starts, spans):
    """List the spans whose combination is no point; gives how many there are."""
    at, top = _NONE, _NONE
    for lane in range(_TURN):
        left = starts[run, lane]
        while left != 0:
            first = halves.lowest_bit(left)
            left &= left - np.uint32(1)
            last = halves.lowest_bit(left | np.uint32(1 << 31)) if left != 0 else turns
            number = wanted[run * turns + first, lane]
            entry = lists[number]
            rows = np.uint64(entry & np.uint32(255))
            spans[at + _FIRST], spans[at + _LAST] = _TURN * first + lane, _TURN * (last - _ONE) + lane
            spans[at + _ROW], spans[at + _ROWS], spans[at + _SPARE] = entry >> np.uint32(8), rows, spare[number]
            spans[at + _SUMS] = top
            top += _TWO * rows
            at += _FIELDS if rows > _NONE else _NONE
    return at // _FIELDS


@merged
def _sum_up(length, run, spans, span, tables, places, parts, words, sums):
    """A and B of each candidate of a span, beside each other; where a list has no candidate, A is beyond any."""
    lane, at, top, rows = spans[span + _FIRST] & _LANE, spans[span + _ROW], spans[span + _SUMS], spans[span + _ROWS]
    both, levels = simd.load(parts, _TURN * run + lane, 0), simd.load(tables, 0, 0)
    entries = (
        simd.lookup(both, simd.load(places, 0, 0)) * levels,
        simd.lookup(both, simd.load(places, 1, 0)) * levels,
        simd.lookup(both, simd.load(places, 2, 0)) * levels,
        simd.lookup(both, simd.load(places, 3, 0)) * levels,
    )
    for _ in range(_ONE, rows):
        simd.store(sums, top, 0, halves.add_up(length, entries, halves.load_halves(words, at, at)))
        at, top = at + _ONE, top + _TWO
    total = halves.add_up(length, entries, halves.load_halves(words, at, at))
    simd.store(sums, top, 0, total + simd.load(tables, _TWO + spans[span + _SPARE], 0))


@merged
def _nearest_of_two(length, task, spans, span, trials, sums, least, second):
    """In each column of a span's list the two smallest s A - B, for its first scale, and for its last beside it.

    Its number replaces the low bits of each, so that what is smallest says which it is.
    """
    top = spans[span + _SUMS]
    scale = halves.halves(trials[spans[span + _FIRST]], trials[spans[span + _LAST]])
    number, kept = halves.iota_in_halves(), ~(_numbers(length) - 1)
    distance = halves.load_halves(sums, top, top) * scale - halves.load_halves(sums, top + _ONE, top + _ONE)
    best, rival = simd.from_bits(simd.bits(distance) & kept | number), simd.splat(_FARTHEST)
    for _ in range(_ONE, spans[span + _ROWS]):
        top += _TWO
        distance = halves.load_halves(sums, top, top) * scale - halves.load_halves(sums, top + _ONE, top + _ONE)
        number = number + 8
        key = simd.from_bits(simd.bits(distance) & kept | number)
        rival = simd.minimum(rival, simd.maximum(best, key))
        best = simd.minimum(best, key)
    simd.store(least, task, 0, best)
    simd.store(second, task, 0, rival)


@merged
def _numbers(length):
    """How many numbers a list may need, as a power of two."""
    return 8 * LONGEST_FOURS if length == 4 else 512


@merged
def _judge(length, eight, least, second, two, numbers, margins):
    """Of eight tasks from `eight` on: bits for which nearest candidates are sure, low ends before high ends, and for
    which spans both are sure and one. found[1] receives the candidates' numbers."""
    halves.two_least_of_halves(least, second, eight, two)
    nearest, rival, margin = simd.load(two, 0, 0), simd.load(two, 1, 0), simd.load(margins, 0, eight)
    cut = (simd.absolute(nearest) + simd.absolute(rival)) * f32(_numbers(length) * 2.0**-23)
    sure = np.uint64(simd.lane_bits(rival - nearest > halves.low_half_twice(margin) + cut))
    number = simd.bits(nearest) & (_numbers(length) - 1)
    simd.store(numbers, 0, 0, number)
    same = np.uint64(simd.lane_bits(number == halves.swap_halves(number)))
    return sure, sure & sure >> _EIGHT & same


@inlined
def _settle(length, run, end, tables, places, parts, lists, rows, wanted, trials, picks):
    """The point of least sum of (cost * e) * e, e = scale * level - weight, the first of equals, for one scale.

    Gives whether none is at a finite distance.
    """
    turn, lane = end >> np.uint64(4), end & _LANE
    value, costs = trials[turn, lane] * simd.load(tables, 1, 0), simd.load(parts, _TURN * run + lane, 0)
    magnitudes, pick = simd.load(parts, _TURN * run + lane, 16), run * np.uint64(len(trials)) + turn
    e0 = value - simd.lookup(magnitudes, simd.load(places, 4, 0))
    e1 = value - simd.lookup(magnitudes, simd.load(places, 5, 0))
    e2 = value - simd.lookup(magnitudes, simd.load(places, 6, 0))
    e3 = value - simd.lookup(magnitudes, simd.load(places, 7, 0))
    entries = (
        simd.lookup(costs, simd.load(places, 4, 0)) * e0 * e0,
        simd.lookup(costs, simd.load(places, 5, 0)) * e1 * e1,
        simd.lookup(costs, simd.load(places, 6, 0)) * e2 * e2,
        simd.lookup(costs, simd.load(places, 7, 0)) * e3 * e3,
    )
    entry, least = lists[wanted[pick, lane]], simd.splat(_FARTHEST)
    for row in range(entry >> 8, (entry >> 8) + (entry & 255)):
        distance = halves.add_up(length, entries, halves.load_halves(rows, row, row))
        nearest = halves.least_in_halves(simd.select(distance < least, distance, least))
        found = halves.low_bits((distance == nearest) & (nearest < least))
        if found != 0:
            picks[pick, lane], least = rows[row, halves.lowest_bit(found)], nearest
    return not halves.low_bits(least < _FARTHEST)
