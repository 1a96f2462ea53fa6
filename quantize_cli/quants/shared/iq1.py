"""What IQ1_S and IQ1_M share: three levels -1, 0, 1, shifted up or down by an eighth, eight to a codebook point.

    weight = scale * (2 * scale_code + 1) * (level[point] + shift)               shift -0.125 or 0.125

Each lane of the search holds one group. Its weights are sorted; the two cuts that part them into three levels are
tried everywhere, with either shift, and the partition that explains most weighted energy wins.

Source: quantize_row_iq1_s_impl, quantize_row_iq1_m_impl.
"""

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.codebooks.codebook import Codebook
from quantize_cli.quants.search import three_levels
from quantize_cli.quants.search.points import TABLES, nearest_points, settle, spread
from quantize_cli.quants.search.scales import gather, nearest_int

f32 = np.float32
_RUN = 8


def shifted_points() -> np.ndarray:
    """(4096, 8) f32: the points shifted up, then the points shifted down."""
    levels = codebook.points("iq1").astype(np.float32) - f32(1)
    return np.concatenate([levels + f32(0.125), levels - f32(0.125)])


def quantize(weights: np.ndarray, importance: np.ndarray | None, book: Codebook, codes: np.ndarray) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> `codes`, filled: IQ1_M where every run has a shift.

    InputError where the reference stops: weights so large that no point is at a finite distance.
    """
    weights = weights.reshape(-1, 256)
    costs = weights if importance is None else importance.reshape(-1, 256)
    fields = (codes["scale"].view(np.uint16), codes["scale_code"], codes["point"], codes["down"])
    run = _quantize_halves if codes["scale_code"].shape[1] == 16 else _quantize_whole
    if run(book.entries, book.rows, book.number, book.codes, weights, costs, importance is not None, *fields):
        largest = np.abs(weights).max()
        raise InputError(f"weights as large as {largest:g} overflow float32 when this type weighs their errors")
    return codes


@kernel
def _quantize_whole(lists, rows, number, levels, weights, costs, weighted, scale, scale_code, point, down):
    """quantize_row_iq1_s_impl: groups of 32, two super-blocks at a time."""
    blocks = weights.shape[0]
    work, order = np.empty((three_levels.WORK_ROWS, 16), np.float32), np.empty((32, 16), np.int32)
    words, downs = np.empty((4, 16), np.int32), np.empty((4, 16), np.int32)
    lost = False
    for block in range(0, blocks, 2):
        active = _begin(work, 32, f32(1e-12), weights, costs, weighted, block)
        three_levels.sort_lanes(work, 32, order)
        three_levels.cut_together(work, 32)
        lost |= _place(work, 32, 1, active, order, words, downs, lists, rows, number)
        for part in range(min(2, blocks - block)):
            at, lane = block + part, 8 * part
            largest = _scale_codes(work[three_levels.SCALE, lane : lane + 8], scale_code[at])
            scale[at] = simd.to_half(largest / f32(15) * f32(1.125))
            for group in range(8):
                down[at, group] = downs[0, lane + group] if largest > f32(0) else 0
                for run in range(4):
                    point[at, 4 * group + run] = words[run, lane + group]
    return lost


@kernel
def _quantize_halves(lists, rows, number, levels, weights, costs, weighted, scale, scale_code, point, down):
    """quantize_row_iq1_m_impl: groups of 16, one super-block at a time."""
    blocks = weights.shape[0]
    work, order = np.empty((three_levels.WORK_ROWS, 16), np.float32), np.empty((16, 16), np.int32)
    words, downs = np.empty((2, 16), np.int32), np.empty((2, 16), np.int32)
    lost = False
    for block in range(blocks):
        active = _begin(work, 16, f32(1e-7), weights, costs, weighted, block)
        three_levels.sort_lanes(work, 16, order)
        three_levels.cut_in_halves(work, 16, order)
        lost |= _place(work, 16, 3, active, order, words, downs, lists, rows, number)
        largest = _scale_codes(work[three_levels.SCALE], scale_code[block])
        for group in range(16):
            for run in range(2):
                down[block, 2 * group + run] = downs[run, group] if largest > f32(0) else 0
                point[block, 2 * group + run] = words[run, group]
        scale[block] = simd.to_half(_refitted(work, largest, levels, scale_code[block], point[block], down[block]))
    return lost


@inlined
def _begin(work, group, smallest, weights, costs, weighted, block):
    """WEIGHTS and COSTS of the lanes' groups from `block` on; gives the lanes whose weights are not all near zero."""
    variance = np.empty((1, 16), np.float32)
    blocks, per_block = weights.shape[0], 256 // group
    gather(work, three_levels.WEIGHTS, weights, blocks, block, group, per_block)
    if weighted:
        gather(work, three_levels.COSTS, costs, blocks, block, group, per_block)
    for lane in range(16):
        if lane % per_block == 0:
            squares = f32(0)
            for w in weights[min(block + lane // per_block, blocks - 1)]:
                squares += w * w
        variance[0, lane] = f32(2) * squares / f32(256)
    largest = simd.splat(f32(0))
    for i in range(group):
        w = simd.load(work, three_levels.WEIGHTS + i, 0)
        largest = simd.maximum(largest, simd.absolute(w))
        cost = w * w
        if weighted:
            cost = simd.load(work, three_levels.COSTS + i, 0) * simd.square_root(simd.load(variance, 0, 0) + cost)
        simd.store(work, three_levels.COSTS + i, 0, cost)
    return largest >= smallest


@inlined
def _place(work, group, last, active, order, words, downs, lists, rows, number):
    """The points of each lane's runs and their shifts, and its scale; shifts are numbered 0..last.

    Gives whether a lane is lost: no point at a finite distance, or a scale that is no number.
    """
    zero, chosen = simd.splat(f32(0)), simd.load(work, three_levels.CHOSEN, 0)
    active = active & (chosen >= zero)
    scale, turned = simd.load(work, three_levels.SCALE, 0), simd.load(work, three_levels.SCALE, 0) < zero
    scale = simd.select(turned, scale * f32(-1), scale)
    level, shift = np.empty((32, 16), np.int32), np.empty((1, 16), np.int32)
    _cut(work, group, last, order, level, shift)
    lost, strays, sum_xq, sum_qq = False, simd.splat(0), zero, zero
    trials, least, queue = np.empty((4, 16), np.float32), np.empty((9, 16), np.float32), np.empty(18, np.uint32)
    weights, costs = np.empty((16 * TABLES, 8), np.float32), np.empty((16 * TABLES, 8), np.float32)
    levels, wanted, room = np.empty((16, 8), np.float32), np.empty((1, 16), np.uint32), np.empty((8, 16), np.int32)
    for run in range(group // _RUN):
        down = simd.load(shift, 0, 0)
        if last == 3:
            down = down & 1 if run == 1 else simd.shift_right(down, 1)
        simd.store(downs, run, 0, simd.select(active, down, simd.splat(0)))
        _levels(downs, run, levels)
        simd.store(trials, run, 0, scale)
        spread(work, three_levels.WEIGHTS + run * _RUN, _RUN, weights)
        spread(work, three_levels.COSTS + run * _RUN, _RUN, costs)
        combination = word = simd.splat(0)
        for i in range(_RUN - 1, -1, -1):
            code = simd.select(active, simd.load(level, run * _RUN + i, 0), simd.splat(0))
            combination, word = combination * 3 + code, word << 4 | code
        simd.store(wanted, 0, 0, combination)
        simd.store(words, run, 0, word)
        left = nearest_points(
            _RUN, wanted, trials, run, levels, weights, costs, lists, rows, words, run, queue, least, room
        )
        if left != 0:
            lost |= settle(_RUN, wanted, trials, run, levels, weights, costs, lists, rows, words, run, left)
        word = simd.load(words, run, 0)
        strays = strays | word
        sum_xq, sum_qq = _add_energy(work, run, word, simd.load(downs, run, 0), sum_xq, sum_qq)
        _index(words, run, number)
    again = (strays < 0) & (sum_xq > zero) & (sum_qq > zero)
    scale = simd.select(active, simd.select(again, sum_xq / sum_qq, scale), zero)
    simd.store(work, three_levels.SCALE, 0, scale)
    return lost or not simd.all_lanes(scale >= zero)


@inlined
def _cut(work, group, last, order, level, shift):
    """The chosen levels 0..2 of each weight and the chosen shift; a negative scale turns both round."""
    for lane in range(16):
        number = max(0, int(work[three_levels.CHOSEN, lane]))
        cuts, chosen = number // three_levels.CUTS, number % three_levels.CUTS
        low, high = cuts // three_levels.CUTS, cuts % three_levels.CUTS
        turned = work[three_levels.SCALE, lane] < f32(0)
        shift[0, lane] = last - chosen if turned else chosen
        for i in range(group):
            value = 0 if i < low else 1 if i < high else 2
            level[order[i, lane], lane] = 2 - value if turned else value


@inlined
def _levels(downs, run, levels):
    """The values of the levels in each lane's shift, in the order of the tables."""
    for lane in range(16):
        delta = f32(-0.125) if downs[run, lane] else f32(0.125)
        for i in range(8):
            levels[lane, i] = f32(i % 4 - 1) + delta


@inlined
def _add_energy(work, run, word, down, sum_xq, sum_qq):
    """The weighted sums of weights x levels and of levels squared, with those of one run."""
    delta = simd.to_float(down) * f32(-0.25) + f32(0.125)
    for i in range(_RUN):
        level = simd.to_float((simd.shift_right(word, 4 * i) & 3) - 1) + delta
        cost = simd.load(work, three_levels.COSTS + run * _RUN + i, 0) * level
        sum_xq = sum_xq + cost * simd.load(work, three_levels.WEIGHTS + run * _RUN + i, 0)
        sum_qq = sum_qq + cost * level
    return sum_xq, sum_qq


@inlined
def _index(words, run, number):
    """Points as words -> their indices, in place."""
    combination = simd.splat(0)
    for i in range(_RUN - 1, -1, -1):
        combination = combination * 3 + (simd.shift_right(simd.load(words, run, 0), 4 * i) & 3)
    simd.store(words, run, 0, combination)
    for lane in range(16):
        words[run, lane] = number[words[run, lane]]


@inlined
def _scale_codes(scales, code):
    """Code the scales of a super-block's groups as odd 15ths of the largest, which it gives."""
    largest = f32(0)
    for group in range(len(scales)):
        largest = scales[group] if scales[group] > largest else largest
    inverse = f32(1) / (largest / f32(15))
    for group in range(len(scales)):
        code[group] = max(0, min(7, nearest_int(f32(0.5) * (inverse * scales[group] - f32(1)))))
    return largest


@inlined
def _refitted(work, largest, levels, scale_code, point, down):
    """The super-block's scale once more, from all its codes."""
    if largest == f32(0):
        return f32(0)
    unit, sum_xq, sum_qq = largest / f32(15), f32(0), f32(0)
    for run in range(32):
        delta = f32(-0.125) if down[run] else f32(0.125)
        for i in range(_RUN):
            row = run % 2 * _RUN + i
            level = (f32(levels[point[run], i]) - f32(1) + delta) * f32(2 * scale_code[run // 2] + 1)
            cost = work[three_levels.COSTS + row, run // 2] * level
            sum_xq += cost * work[three_levels.WEIGHTS + row, run // 2]
            sum_qq += cost * level
    return (sum_xq / sum_qq if sum_qq > f32(0) else unit) * f32(1.1125)


def dequantize(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Codes (n,), levels of the points (2048, 8) u1 -> weights (n, 256) f32."""
    weights = np.empty((len(codes), 256), np.float32)
    with np.errstate(invalid="ignore"):  # the scale of a damaged block may be no number
        steps = codes["scale"].astype(np.float32)[:, None] * (2 * codes["scale_code"] + 1).astype(np.float32)
    _dequantize(steps, codes["point"], codes["down"], levels, weights)
    return weights


@kernel
def _dequantize(steps, point, down, levels, weights):
    for block in range(weights.shape[0]):
        for run in range(32):
            step = steps[block, run * steps.shape[1] // 32]
            delta = f32(-0.125) if down[block, run * down.shape[1] // 32] else f32(0.125)
            for i in range(_RUN):
                weights[block, _RUN * run + i] = step * (f32(levels[point[block, run], i]) - f32(1) + delta)
