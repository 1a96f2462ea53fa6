"""What IQ2 and IQ3 types share: magnitudes from a codebook, signs apart, one scale per group of 16 or 32 weights.

    weight = scale * (scale_code + 0.5) / 4 * magnitude[point] * sign            (IQ2; the others are alike)

Each lane of the search holds one group. For every range tried, each run of 4 or 8 magnitudes is rounded to codes, and
from there to a codebook point; the range that explains most weighted energy wins.

Source: quantize_row_iq2_xxs_impl, quantize_row_iq2_xs_impl, quantize_row_iq2_s_impl, quantize_row_iq3_xxs_impl,
quantize_row_iq3_s_impl.
"""

from typing import NamedTuple

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import load, select, shift_right, splat, square_root, store, to_half
from quantize_cli.quants.codebooks.codebook import Codebook
from quantize_cli.quants.interface.grid import with_parity_sign
from quantize_cli.quants.search.lattice import COSTS, ROOTS, SCALE, WEIGHTS, WORK_ROWS, search_scale
from quantize_cli.quants.search.scales import gather, nearest_int
from quantize_cli.quants.search.spans import span_room

f32 = np.float32
IQ2_MAGNITUDES = np.array([8, 25, 43], np.float32)


class Search(NamedTuple):
    """What sets one type's search apart from another's."""

    group: int
    """Weights that share a scale: 16 or 32."""
    reach: int
    """Ranges tried: the largest code's value + step * (-reach..reach)."""
    step: np.float32
    smallest: np.float32
    """A group whose largest magnitude is below this counts as all zero."""
    variance: np.float32
    """What is added to a square under the root that multiplies importance, in mean squares of the super-block."""
    share: np.float32
    """Without importance a weight costs its square and this share of that variance."""
    even: bool
    """Only seven of eight signs are stored: where their number is odd, the cheapest is turned."""
    fitted: bool
    """Ranges are tried around a scale fitted without codebook, not around the largest magnitude."""
    again: int
    """Runs rounded once more with the found scale: STRAYS from the codebook, ALL_IF_ANY is one, or ALL."""
    unchosen: int
    """The point, as a word, of runs in a group for which no range was any good."""
    fudge: np.float32
    """What the super-block's scale is multiplied by."""
    cleared: bool
    """A super-block without scale keeps neither points nor signs."""


def quantize(
    weights: np.ndarray, importance: np.ndarray | None, search: Search, book: Codebook, codes: np.ndarray
) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> `codes`, filled.

    InputError where the reference stops: weights so large that no point is at a finite distance.
    """
    weights = weights.reshape(-1, 256)
    costs = weights if importance is None else importance.reshape(-1, 256)
    run = _quantize_fours if book.codes.shape[1] == 4 else _quantize_eights
    fields = (codes["scale"].view(np.uint16), codes["scale_code"], codes["point"], codes["sign"])
    arrays = (book.entries, book.rows, book.spare, book.number)
    if run(search, arrays, weights, costs, importance is not None, *fields):
        largest = np.abs(weights).max()
        raise InputError(f"weights as large as {largest:g} overflow float32 when this type weighs their errors")
    return codes


@kernel
def _quantize_fours(search, book, weights, costs, weighted, scale, scale_code, point, sign):
    return _quantize(4, 8, search, book, weights, costs, weighted, scale, scale_code, point, sign)


@kernel
def _quantize_eights(search, book, weights, costs, weighted, scale, scale_code, point, sign):
    return _quantize(8, 3, search, book, weights, costs, weighted, scale, scale_code, point, sign)


@inlined
def _quantize(length, base, search, book, weights, costs, weighted, scale, scale_code, point, sign):
    """`length` weights to a point, codes 0..base-1. Gives whether a group was lost."""
    blocks, per_block = weights.shape[0], 256 // search.group
    work = np.empty((WORK_ROWS, 16), np.float32)
    signs, words = np.empty((4, 16), np.int32), np.empty((8, 16), np.int32)
    room, lost = span_room(), False
    for block in range(0, blocks, 16 // per_block):
        gather(work, WEIGHTS, weights, blocks, block, search.group, per_block)
        if weighted:
            gather(work, COSTS, costs, blocks, block, search.group, per_block)
        _weigh(work, search, weights, block, weighted)
        _take_signs(work, search, signs)
        lost |= search_scale(length, base, search, book, work, room, words, signs)
        for part in range(min(16 // per_block, blocks - block)):
            lane, at = part * per_block, block + part
            largest = _scale_codes(work[SCALE, lane : lane + per_block], scale_code[at])
            scale[at] = to_half(largest / f32(31) * search.fudge)
            for group in range(per_block):
                start = group * search.group
                if search.cleared and largest == f32(0):
                    point[at, start // length : (start + search.group) // length] = 0
                    sign[at, start // 8 : (start + search.group) // 8] = 0
                    continue
                for i in range(search.group // length):
                    point[at, start // length + i] = words[i, lane + group]
                for i in range(search.group // 8):
                    sign[at, start // 8 + i] = signs[i, lane + group]
    return lost


@inlined
def _weigh(work, search, weights, block, weighted):
    """COSTS from importance, or from the weights alone, and their roots."""
    variance = np.empty((1, 16), np.float32)
    per_block = 256 // search.group
    for lane in range(16):
        if lane % per_block == 0:
            squares = f32(0)
            for w in weights[min(block + lane // per_block, weights.shape[0] - 1)]:
                squares += w * w
        variance[0, lane] = search.variance * squares / f32(256)
    sigma = load(variance, 0, 0)
    for i in range(search.group):
        w = load(work, WEIGHTS + i, 0)
        cost = w * w
        if weighted:
            cost = load(work, COSTS + i, 0) * square_root(sigma + cost)
        elif search.share > f32(0):
            cost = search.share * sigma + cost
        store(work, COSTS + i, 0, cost)
        store(work, ROOTS + i, 0, square_root(cost))


@inlined
def _take_signs(work, search, signs):
    """Leave magnitudes in WEIGHTS, and in `signs` a bit for each that was negative."""
    for first in range(0, search.group, 8):
        sign, cheapest = splat(0), splat(0)
        least = load(work, COSTS + first, 0) * load(work, WEIGHTS + first, 0) * load(work, WEIGHTS + first, 0)
        for i in range(8):
            w = load(work, WEIGHTS + first + i, 0)
            sign = sign | select(w >= f32(0), splat(0), splat(1 << i))
            cost = load(work, COSTS + first + i, 0) * w * w
            cheaper = cost < least
            least, cheapest = select(cheaper, cost, least), select(cheaper, splat(i), cheapest)
            store(work, WEIGHTS + first + i, 0, select(w >= f32(0), w, w * f32(-1)))
        if search.even:
            odd = sign ^ shift_right(sign, 4)
            odd = odd ^ shift_right(odd, 2)
            turned = ((odd ^ shift_right(odd, 1)) & 1) == 1
            for i in range(8):
                w = load(work, WEIGHTS + first + i, 0)
                store(work, WEIGHTS + first + i, 0, select(turned & (cheapest == i), w * f32(-1), w))
            sign = select(turned, sign ^ (splat(1) << cheapest), sign) & 127
        store(signs, first // 8, 0, sign)


@inlined
def _scale_codes(scales, code):
    """Code the scales of a super-block's groups as odd 31sts of the largest, which it gives."""
    largest = f32(0)
    for group in range(len(scales)):
        largest = scales[group] if scales[group] > largest else largest
    inverse = f32(1) / (largest / f32(31))
    for group in range(len(scales)):
        code[group] = max(0, min(15, nearest_int(f32(0.5) * (inverse * scales[group] - f32(1)))))
    return largest


def dequantize(codes: np.ndarray, factor: np.float32, magnitudes: np.ndarray, even: bool) -> np.ndarray:
    """Codes, what a half step is times, the points' magnitudes (points, length) f32 -> weights (n, 256) f32."""
    weights = np.empty((len(codes), 256), np.float32)
    with np.errstate(invalid="ignore"):  # the scale of a damaged block may be no number
        steps = codes["scale"].astype(np.float32)[:, None] * (f32(0.5) + codes["scale_code"]) * factor
    signs = with_parity_sign(codes["sign"]) if even else codes["sign"]
    _dequantize(steps, codes["point"], magnitudes, signs, weights)
    return weights


@kernel
def _dequantize(steps, point, magnitudes, signs, weights):
    length, group = magnitudes.shape[1], 256 // steps.shape[1]
    for block in range(weights.shape[0]):
        for start in range(0, 256, length):
            step, chosen = steps[block, start // group], point[block, start // length]
            sign = signs[block, start // 8] >> start % 8
            for i in range(length):
                magnitude = step * magnitudes[chosen, i]
                weights[block, start + i] = -magnitude if sign >> i & 1 else magnitude


def pack_signs(sign: np.ndarray) -> np.ndarray:
    """Seven-bit sign codes (n, 32) u1 -> four to a word, (n, 8) u4, from the lowest bit."""
    words = sign.reshape(-1, 8, 4).astype(np.uint32) << np.arange(0, 28, 7, dtype=np.uint32)
    packed: np.ndarray = np.bitwise_or.reduce(words, axis=2)
    return packed


def unpack_signs(words: np.ndarray) -> np.ndarray:
    """The reverse of `pack_signs`; the high four bits of a word are not looked at."""
    return (words[:, :, None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127).astype(np.uint8).reshape(-1, 32)
