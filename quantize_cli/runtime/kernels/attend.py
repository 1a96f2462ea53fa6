"""Attention with grouped heads, causal or to both sides, on keys and values as `keep` lays them out.

A unit of work is a tile of eight rows (token, head) that share a key-value head. Its scores, sixteen positions in the
lanes, are written out for all positions it may see, turned into shares, and multiplied with the values, whose columns
are in the lanes. Scores lie in blocks of sixteen positions: eight rows of sixteen.
"""

from typing import NamedTuple

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.arguments import Arguments, f32_array, f32_number, i64_array, number
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim, operation
from quantize_cli.jit.simd.tile import tile_of
from quantize_cli.runtime.kernels.elementwise import capped
from quantize_cli.runtime.kernels.exponential import exponential
from quantize_cli.runtime.kernels.lean import lean

f32, i32 = np.float32, np.int32
_LANES, ROWS = 16, 8
"""Two vectors by eight rows are sixteen sums: enough to hide the latency of a multiply-add, and half of AVX-512's
registers."""
_empty_single, _add_single, _, _store_single = tile_of(simd.floats, ROWS, 1)
_empty_pair, _add_pair, _, _store_pair = tile_of(simd.floats, ROWS, 2)
_BLOCK = ROWS * _LANES
_RESULTS = 2 * _BLOCK
_AHEAD = 64
"""Positions that are fetched ahead. A text's cache comes from main memory, whose lines lie a row apart in the keys, too
far for the processor to guess: a token after 512 others took 57 us a layer instead of 92.
"""
_INFINITY = f32(np.inf)

_ARGUMENTS = Arguments(
    queries=f32_array, all_keys=f32_array, all_values=f32_array, stored=i64_array, out=f32_array, scratch=f32_array,
    scale=f32_number, cap=f32_number, window=number, sequences=number, slopes=f32_array, ahead=number,
)  # fmt: skip


class _Unit(NamedTuple):
    """A tile of rows; row r of its pair (sequence, key-value head) is token r // group, head r % group."""

    pair: int
    group: int
    first: int
    rows: int
    query_row: int
    """Where its sequence begins in the queries."""
    query_column: int
    """Where its heads do."""
    stored: int
    window: int
    ahead: int
    """New positions, all of which every row sees; 0 where a row sees none past its own."""


class _Scratch(NamedTuple):
    """One thread's scratch: its row, and in which columns the parts of it begin; `address` is that of column 0."""

    row: int
    address: int
    scores: int
    queries: int
    results: int
    inverses: int


def scratch_columns(capacity: int, head_width: int) -> int:
    """Float32 of scratch that each thread needs."""
    return ROWS * (capacity + head_width + _LANES) + _RESULTS + 2 * _LANES


@operation(_ARGUMENTS)
def attend(args, thread, threads):
    """Mix values for each query over the positions up to its own, or over all.

    queries (sequences * n, heads * head_width); the layer's keys and values; `stored` (1,), which does not count the n
    positions yet; out like queries; scratch (threads, scratch_columns); `scale`, what scores are multiplied by; `cap`,
    what they are capped at, 0 for nothing; `window`, how many positions up to its own a query sees, 0 for all; `slopes`
    (heads,), how fast scores fall with distance, or (0,); `ahead`, whether a query sees the positions after its own too
    (1) or not (0). Half the window then lies on either side of its own position. Slopes are not made for that.
    """
    width, sequences, stored = args.all_values.shape[1], args.sequences, args.stored[0, 0]
    shared = args.all_keys.shape[0] // (sequences * width)
    group = args.queries.shape[1] // (shared * width)
    tokens = args.queries.shape[0] // sequences
    tiles = (tokens * group + ROWS - 1) // ROWS
    ahead = tokens if args.ahead else 0
    scratch = _scratch_of(args, thread)
    while True:
        claimed = claim(args)
        if claimed >= sequences * shared * tiles:
            break
        # The keys and values of one head stay near while its tiles are done; those that see most come first.
        pair = claimed // tiles
        first = (tiles - 1 - claimed % tiles) * ROWS
        count = min(ROWS, tokens * group - first)
        row, column = pair // shared * tokens, pair % shared * group * width
        _attend_unit(args, scratch, _Unit(pair, group, first, count, row, column, stored, args.window, ahead))


@merged
def _scratch_of(args, thread):
    """The scores begin on a cache line: no block of theirs straddles two."""
    capacity, width = args.all_keys.shape[1], args.all_values.shape[1]
    address = simd.row_address(args.scratch, thread)
    scores = (-address & 63) // 4
    queries = scores + ROWS * capacity
    results = queries + ROWS * _padded(width)
    return _Scratch(thread, address, scores, queries, results, results + _RESULTS)


@merged
def _padded(width):
    return (width + _LANES - 1) // _LANES * _LANES


@merged
def _attend_unit(args, scratch, unit):
    last = unit.first + unit.rows - 1
    start, stop = _sees_from(unit, unit.first), _sees_to(unit, last)
    _scale_queries(args, scratch, unit)
    _score(args, scratch, unit, start // _LANES, (stop + _LANES - 1) // _LANES)
    for row in range(unit.rows):
        _share_out(args, scratch, unit, row, start // _LANES, (stop + _LANES - 1) // _LANES)
    width, column = args.all_values.shape[1], 0
    while column < width:
        if width < _LANES:
            _mix_narrow(args, scratch, unit, start, stop)
            column = width
        elif width - column > _LANES and width >= 2 * _LANES:
            # The last columns may overlap those before: they are computed twice, alike.
            column = min(column, width - 2 * _LANES)
            _mix_pair(args, scratch, unit, column, start, stop)
            column += 2 * _LANES
        else:
            column = min(column, width - _LANES)
            _mix_single(args, scratch, unit, column, start, stop)
            column += _LANES


@merged
def _sees_from(unit, row):
    """The first position that a row sees."""
    own = unit.stored + row // unit.group
    before = unit.window // 2 if unit.ahead else unit.window - 1
    return max(0, own - before) if unit.window else 0


@merged
def _sees_to(unit, row):
    """One past the last position that a row sees: its own, or the last of all."""
    own, stop = unit.stored + row // unit.group, unit.stored + unit.ahead
    if unit.ahead and unit.window:
        return min(stop, own + unit.window // 2 + 1)
    return stop if unit.ahead else own + 1


@merged
def _place(unit, row, width):
    """Row and column in the queries, and in what comes out, of a row of the tile."""
    token = (unit.first + row) // unit.group
    return unit.query_row + token, unit.query_column + (unit.first + row - token * unit.group) * width


# --- scores ------------------------------------------------------------------------------------------------------


@merged
def _scale_queries(args, scratch, unit):
    queries, target, width, scale = args.queries, args.scratch, args.all_values.shape[1], args.scale
    for row in range(ROWS):
        # Rows past the last are computed with whatever is there, and dropped.
        source, column = _place(unit, min(row, unit.rows - 1), width)
        at = scratch.queries + row * _padded(width)
        for start in range(0, width, _LANES):
            query = simd.load_some(queries, source, column + start, width - start)
            simd.store(target, scratch.row, at + start, query * scale)


@merged
def _score(args, scratch, unit, first_block, last_block):
    """Scores of blocks of positions, of all rows and with no regard to what each may see."""
    width, line = args.all_values.shape[1], 4 * args.all_keys.shape[1]
    queries, distance = scratch.address + 4 * scratch.queries, 4 * _padded(width)
    keys = simd.row_address(args.all_keys, unit.pair * width)
    for block in range(first_block, last_block - 1, 2):
        sums = _empty_pair()
        for column in range(width):
            at = keys + column * line + 64 * block
            simd.fetch_line(at + 4 * _AHEAD)
            simd.fetch_line(at + 4 * _AHEAD + 64)
            sums = _add_pair(sums, queries + 4 * column, distance, at)
        at = scratch.scores + (block - first_block) * _BLOCK
        _store_pair(sums, scratch.address + 4 * at, 4 * _LANES, 4 * _BLOCK)
    if (last_block - first_block) % 2:
        block = last_block - 1
        single = _empty_single()
        for column in range(width):
            single = _add_single(single, queries + 4 * column, distance, keys + column * line + 64 * block)
        at = scratch.scores + (block - first_block) * _BLOCK
        _store_single(single, scratch.address + 4 * at, 4 * _LANES, 0)


@merged
def _share_out(args, scratch, unit, row, first_block, last_block):
    """Turn one row's scores into e to their power, relative to the highest; keep what makes their sum one."""
    scores, at = args.scratch, scratch.scores + row * _LANES
    blocks = last_block - first_block
    cap = args.cap
    if cap > f32(0):
        for block in range(blocks):
            score = simd.load(scores, scratch.row, at + block * _BLOCK)
            simd.store(scores, scratch.row, at + block * _BLOCK, capped(score, score, cap))
    start = _sees_from(unit, unit.first + row) - first_block * _LANES
    stop = _sees_to(unit, unit.first + row) - first_block * _LANES
    if args.slopes.shape[1]:
        head = _place(unit, row, 1)[1] + unit.query_column // args.all_values.shape[1] - unit.query_column
        lean(scores, scratch.row, at, _BLOCK, blocks, args.slopes[0, head], stop - 1)
    _hide(scores, scratch.row, at, blocks, start, stop)
    peaks = simd.splat(-_INFINITY)
    for block in range(blocks):
        peaks = simd.maximum(simd.load(scores, scratch.row, at + block * _BLOCK), peaks)
    peak, sums = simd.highest(peaks), simd.splat(f32(0))
    for block in range(blocks):
        power = exponential(simd.load(scores, scratch.row, at + block * _BLOCK) - peak)
        sums = sums + power
        simd.store(scores, scratch.row, at + block * _BLOCK, power)
    scores[scratch.row, scratch.inverses + row] = f32(1) / simd.total(sums)


@merged
def _hide(scores, scratch_row, at, blocks, start, stop):
    """Minus infinity for all positions outside of start to stop, whatever was computed from what lies there."""
    for block in range(start // _LANES + 1):
        score = simd.load(scores, scratch_row, at + block * _BLOCK)
        outside = simd.lane_numbers() < i32(start - block * _LANES)
        simd.store(scores, scratch_row, at + block * _BLOCK, simd.select(outside, simd.splat(-_INFINITY), score))
    for block in range(stop // _LANES, blocks):
        score = simd.load(scores, scratch_row, at + block * _BLOCK)
        outside = simd.lane_numbers() >= i32(stop - block * _LANES)
        simd.store(scores, scratch_row, at + block * _BLOCK, simd.select(outside, simd.splat(-_INFINITY), score))


# --- values ------------------------------------------------------------------------------------------------------


@merged
def _mix_pair(args, scratch, unit, column, start, stop):
    """32 columns of what comes out."""
    width = args.all_values.shape[1]
    values = simd.row_address(args.all_values, unit.pair * args.all_keys.shape[1]) + 4 * column
    shares = scratch.address + 4 * (scratch.scores - start // _LANES * _BLOCK)
    sums = _empty_pair()
    for position in range(start, stop):
        factors = shares + 4 * (position // _LANES * _BLOCK + position % _LANES)
        at = values + 4 * width * position
        simd.fetch_line(at + 4 * width * _AHEAD)
        simd.fetch_line(at + 4 * width * _AHEAD + 64)
        sums = _add_pair(sums, factors, 4 * _LANES, at)
    _store_pair(sums, scratch.address + 4 * scratch.results, 8 * _LANES, 4 * _LANES)
    _put(args, scratch, unit, column, 2)


@merged
def _mix_single(args, scratch, unit, column, start, stop):
    """Sixteen columns of what comes out."""
    width = args.all_values.shape[1]
    values = simd.row_address(args.all_values, unit.pair * args.all_keys.shape[1]) + 4 * column
    shares = scratch.address + 4 * (scratch.scores - start // _LANES * _BLOCK)
    sums = _empty_single()
    for position in range(start, stop):
        factors = shares + 4 * (position // _LANES * _BLOCK + position % _LANES)
        sums = _add_single(sums, factors, 4 * _LANES, values + 4 * width * position)
    _store_single(sums, scratch.address + 4 * scratch.results, 8 * _LANES, 0)
    _put(args, scratch, unit, column, 1)


@merged
def _put(args, scratch, unit, column, vectors):
    """Vectors of results of each row to where they belong, their shares made to sum to one."""
    source, target, width = args.scratch, args.out, args.all_values.shape[1]
    for row in range(unit.rows):
        inverse = source[scratch.row, scratch.inverses + row]
        target_row, target_column = _place(unit, row, width)
        for vector in range(vectors):
            result = simd.load(source, scratch.row, scratch.results + (2 * row + vector) * _LANES)
            simd.store(target, target_row, target_column + column + vector * _LANES, result * inverse)


@merged
def _mix_narrow(args, scratch, unit, start, stop):
    """Heads of fewer than sixteen columns, row by row."""
    source, values, target, width = args.scratch, args.all_values, args.out, args.all_values.shape[1]
    for row in range(unit.rows):
        at = scratch.scores + row * _LANES - start // _LANES * _BLOCK
        sums = simd.splat(f32(0))
        for position in range(start, stop):
            share = source[scratch.row, at + position // _LANES * _BLOCK + position % _LANES]
            sums = sums + simd.load_some(values, unit.pair * args.all_keys.shape[1] + position, 0, width) * share
        target_row, target_column = _place(unit, row, width)
        simd.store_some(target, target_row, target_column, sums * source[scratch.row, scratch.inverses + row], width)
