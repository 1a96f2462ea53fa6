"""Slow twins, as in naive.py, of the IQ types: every codebook point looked at, one weight at a time."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantize_cli import quants
from tests.naive import Codes, clamp, f32, half, nearest

Run = tuple[int, ...]
_BOOKS = Path(quants.__file__).parent / "codebooks"


@cache
def points(name: str) -> list[Run]:
    length, bits = (4, 3) if name.startswith("iq3") else (8, 2)
    return [tuple(int(p) >> bits * i & (1 << bits) - 1 for i in range(length)) for p in np.load(_BOOKS / f"{name}.npy")]


@cache
def candidates(name: str, shells: int, run: Run) -> list[Run]:
    """The run itself if it is a point, else the points at its `shells` smallest distances, nearest first."""
    if run in points(name):
        return [run]
    distances = [sum((a - b) ** 2 for a, b in zip(point, run, strict=True)) for point in points(name)]
    reach = sorted(set(distances))[shells - 1]
    order = sorted(range(len(distances)), key=lambda index: (distances[index], index))
    return [points(name)[index] for index in order if distances[index] <= reach]


def best_point(
    among: Sequence[Run], weights: np.ndarray, costs: np.ndarray, scale: np.float32, levels: Sequence[np.float32]
) -> Run:
    def distance(point: Run) -> np.float32:
        total = f32(0)
        for w, cost, code in zip(weights, costs, point, strict=True):
            error = scale * levels[code] - w
            total += cost * error * error
        return total

    return min(among, key=distance)


def energy(weights: np.ndarray, costs: np.ndarray, values: Sequence[np.float32]) -> tuple[np.float32, np.float32]:
    """Weighted sums of weights x values and of values squared."""
    sum_xq = sum_qq = f32(0)
    for w, cost, q in zip(weights, costs, values, strict=True):
        sum_xq, sum_qq = sum_xq + cost * w * q, sum_qq + cost * q * q
    return sum_xq, sum_qq


class Lattice(NamedTuple):
    book: str
    shells: int
    group: int
    reach: int
    step: float
    variance: int
    share: float
    even: bool
    again: str
    fudge: float
    fitted: bool = False


def mean_square(weights: np.ndarray) -> np.float32:
    total = f32(0)
    for w in weights:
        total += w * w
    return total / f32(256)


def magnitudes(weights: np.ndarray, costs: np.ndarray, even: bool) -> tuple[np.ndarray, list[int]]:
    """Weights without their signs, and the sign codes of each eight; the cheapest is turned to make them even."""
    found, signs = weights.copy(), []
    for start in range(0, len(weights), 8):
        eight = range(start, start + 8)
        negative = {i for i in eight if weights[i] < 0}
        if even and len(negative) % 2:
            negative ^= {min(eight, key=lambda i: costs[i] * weights[i] * weights[i])}
        for i in negative:
            found[i] = -weights[i]
        for i in set(eight) - negative:
            found[i] = weights[i]
        signs.append(sum(1 << i - start for i in negative) & (127 if even else 255))
    return found, signs


def lattice_group(weights: np.ndarray, costs: np.ndarray, rule: Lattice) -> tuple[np.float32, list[Run]]:
    """The scale and points of one group of magnitudes."""
    length, top = (4, 15) if rule.book.startswith("iq3") else (8, 5)
    levels, roots = [f32(level) for level in range(1, 16, 2)], np.sqrt(costs)
    starts = range(0, len(weights), length)

    def rounded(inverse: np.float32) -> list[Run]:
        codes = [clamp(nearest(f32(0.5) * (inverse * w - f32(1))), 0, top // 2) for w in weights]
        return [tuple(codes[i : i + length]) for i in starts]

    def placed(runs: list[Run], scale: np.float32) -> list[Run]:
        found = []
        for i, run in zip(starts, runs, strict=True):
            here, among = slice(i, i + length), candidates(rule.book, rule.shells, run)
            found.append(best_point(among, weights[here], roots[here], scale, levels))
        return found

    def explained(runs: list[Run]) -> tuple[np.float32, np.float32]:
        return energy(weights, costs, [levels[code] for run in runs for code in run])

    largest = fitted_scale(weights, costs, 4) * f32(3) if rule.fitted else max(weights)
    best, chosen, asked, scale = f32(0), [], [], f32(0)
    for shift in range(-rule.reach, rule.reach + 1):
        inverse = (f32(top) + f32(shift) * f32(rule.step)) / largest
        runs = rounded(inverse)
        found = placed(runs, f32(1) / inverse)
        sum_xq, sum_qq = explained(found)
        if sum_qq > 0 and sum_xq * sum_xq > best * sum_qq:
            scale, chosen, asked = sum_xq / sum_qq, found, runs
            best = scale * sum_xq
    strays = [a != b for a, b in zip(asked, chosen, strict=True)]
    if rule.again == "all" or any(strays):
        again = placed(rounded(f32(1) / scale), scale)
        moved = strays if rule.again == "strays" else [True] * len(strays)
        chosen = [new if move else old for old, new, move in zip(chosen, again, moved, strict=True)]
        sum_xq, sum_qq = explained(chosen)
        scale = sum_xq / sum_qq
    return scale, chosen


def fitted_scale(weights: np.ndarray, costs: np.ndarray, top: int) -> np.float32:
    """Scale of weights ~ scale * code: of nine ranges the one with the least error, then one code at a time."""

    def error(inverse: np.float32, codes: Sequence[int]) -> np.float32:
        total = f32(0)
        for w, cost, code in zip(weights, costs, codes, strict=True):
            difference = w - f32(1) / inverse * f32(code)
            total += cost * difference * difference
        return total

    def encoded(inverse: np.float32) -> list[int]:
        return [min(top, nearest(inverse * w)) for w in weights]

    inverses = [(f32(0.1) * f32(shift) + f32(top)) / max(weights) for shift in (0, -4, -3, -2, -1, 1, 2, 3, 4)]
    plain = error(inverses[0], [nearest(inverses[0] * w) & 255 for w in weights])
    errors = [plain, *(error(inverse, encoded(inverse)) for inverse in inverses[1:])]
    codes = encoded(inverses[errors.index(min(errors))])
    sum_xq, sum_qq = energy(weights, costs, [f32(code) for code in codes])
    codes = [code & 255 for code in codes]
    for _ in range(5):
        before = list(codes)
        for i, (w, cost) in enumerate(zip(weights, costs, strict=True)):
            rest_xq, rest_qq = sum_xq - cost * w * f32(codes[i]), sum_qq - cost * f32(codes[i]) * f32(codes[i])
            if rest_xq <= 0 or rest_qq <= 0:
                continue
            code = min(top, nearest(w * rest_qq / rest_xq))
            new_xq, new_qq = rest_xq + cost * w * f32(code), rest_qq + cost * f32(code) * f32(code)
            if code != codes[i] and new_xq * new_xq * sum_qq > sum_xq * sum_xq * new_qq:
                codes[i], sum_xq, sum_qq = code & 255, new_xq, new_qq
        if codes == before:
            break
    return sum_xq / sum_qq


def lattice(weights: np.ndarray, importance: np.ndarray | None, rule: Lattice) -> Codes:
    """IQ2 and IQ3 types."""
    variance = f32(rule.variance) * mean_square(weights)
    squares = weights * weights
    costs = squares if importance is None else importance * np.sqrt(variance + squares)
    if importance is None and rule.share:
        costs = f32(rule.share) * variance + squares
    scales, codes = [], Codes(point=[], sign=[])
    for start in range(0, 256, rule.group):
        group = slice(start, start + rule.group)
        found, signs = magnitudes(weights[group], costs[group], rule.even)
        scale, chosen = lattice_group(found, costs[group], rule)
        scales.append(scale)
        codes["sign"] += signs
        codes["point"] += [points(rule.book).index(point) for point in chosen]
    unit = max(scales) / f32(31)
    codes["scale"] = half(unit * f32(rule.fudge))
    codes["scale_code"] = [clamp(nearest(f32(0.5) * (f32(1) / unit * scale - f32(1))), 0, 15) for scale in scales]
    return codes


def shifted(down: bool) -> list[np.float32]:
    return [f32(level - 1 + (-0.125 if down else 0.125)) for level in range(3)]


def cut(weights: np.ndarray, costs: np.ndarray, halves: bool) -> tuple[np.float32, list[int], list[bool]]:
    """The best partition of a group into three levels: its scale, the levels, and whether each run is shifted down."""
    count, best = len(weights), -np.finfo(np.float32).max
    order = sorted(range(count), key=lambda i: weights[i])
    found: tuple[np.float32, list[int], list[bool]] = (f32(0), [], [])
    shifts = [(a, b) for a in (False, True) for b in (False, True)] if halves else [(a,) * 4 for a in (False, True)]
    sums = _half_sums(weights, costs, order) if halves else _whole_sums(weights, costs, order)
    for i in range(count + 1):
        for j in range(i, count + 1):
            for shift in shifts:
                sum_xq, sum_qq = sums(i, j, shift)
                if sum_qq > 0 and sum_xq * sum_xq > best * sum_qq:
                    scale = sum_xq / sum_qq
                    best = scale * sum_xq
                    levels = [0] * count
                    for rank, at in enumerate(order):
                        levels[at] = 0 if rank < i else 1 if rank < j else 2
                    found = scale, levels, list(shift)
    scale, levels, down = found
    return (scale, levels, down) if scale >= 0 else (-scale, [2 - x for x in levels], [not d for d in down])


def _prefixes(weights: np.ndarray, costs: np.ndarray, order: list[int]) -> tuple[list[np.float32], list[np.float32]]:
    sums_x, sums_w = [f32(0)], [f32(0)]
    for i in order:
        sums_x.append(sums_x[-1] + costs[i] * weights[i])
        sums_w.append(sums_w[-1] + costs[i])
    return sums_x, sums_w


def _whole_sums(weights: np.ndarray, costs: np.ndarray, order: list[int]):  # type: ignore[no-untyped-def]
    x, w = _prefixes(weights, costs, order)

    def sums(i: int, j: int, shift: tuple[bool, ...]) -> tuple[np.float32, np.float32]:
        low, middle, high = shifted(shift[0])
        sum_xq = x[i] * low + (x[j] - x[i]) * middle + (x[-1] - x[j]) * high
        return sum_xq, w[i] * low * low + (w[j] - w[i]) * middle * middle + (w[-1] - w[j]) * high * high

    return sums


def _half_sums(weights: np.ndarray, costs: np.ndarray, order: list[int]):  # type: ignore[no-untyped-def]
    sides = [np.arange(len(weights)) // 8 == side for side in (0, 1)]
    prefixes = [_prefixes(weights, np.where(side, costs, f32(0)), order) for side in sides]

    def sums(i: int, j: int, shift: tuple[bool, ...]) -> tuple[np.float32, np.float32]:
        sum_xq = sum_qq = f32(0)
        for (x, w), down in zip(prefixes, shift, strict=True):
            low, middle, high = shifted(down)
            below, between = low * low - middle * middle, middle * middle - high * high
            sum_xq += x[-1] * high - (x[i] + x[j])
            sum_qq += w[-1] * high * high + w[i] * below + w[j] * between
        return sum_xq, sum_qq

    return sums


def ternary(weights: np.ndarray, importance: np.ndarray | None, group: int) -> Codes:
    """IQ1_S in groups of 32, IQ1_M in groups of 16."""
    variance, squares = f32(2) * mean_square(weights), weights * weights
    costs = squares if importance is None else importance * np.sqrt(variance + squares)
    scales, codes = [], Codes(point=[], down=[])
    for start in range(0, 256, group):
        w, c = weights[start : start + group], costs[start : start + group]
        scale, levels, down = cut(w, c, group == 16)
        asked = [tuple(levels[i : i + 8]) for i in range(0, group, 8)]
        chosen = [
            best_point(candidates("iq1", 3, run), w[8 * i : 8 * i + 8], c[8 * i : 8 * i + 8], scale, shifted(down[i]))
            for i, run in enumerate(asked)
        ]
        if chosen != asked:
            scale = _best_scale(
                w, c, [shifted(d)[code] for point, d in zip(chosen, down, strict=False) for code in point]
            )
        scales.append(scale)
        codes["point"] += [points("iq1").index(point) for point in chosen]
        codes["down"] += down if group == 16 else down[:1]
    unit = max(scales) / f32(15)
    codes["scale_code"] = [clamp(nearest(f32(0.5) * (f32(1) / unit * scale - f32(1))), 0, 7) for scale in scales]
    if group == 16:
        units = [f32(2 * code + 1) for code in codes["scale_code"]]
        runs = [(shifted(d), points("iq1")[p]) for p, d in zip(codes["point"], codes["down"], strict=True)]
        values = [levels[code] * units[i // 2] for i, (levels, point) in enumerate(runs) for code in point]
        unit = _best_scale(weights, costs, values)
    codes["scale"] = half(unit * f32(1.1125 if group == 16 else 1.125))
    return codes


def _best_scale(weights: np.ndarray, costs: np.ndarray, values: Sequence[np.float32]) -> np.float32:
    sum_xq = sum_qq = f32(0)
    for w, cost, q in zip(weights, costs, values, strict=True):
        sum_xq, sum_qq = sum_xq + cost * q * w, sum_qq + cost * q * q
    return sum_xq / sum_qq


_RULES = {
    "IQ2_XXS": Lattice("iq2_xxs", 2, 32, 6, 0.1, 1, 0, True, "all", 1, fitted=True),
    "IQ2_XS": Lattice("iq2_xs", 2, 16, 9, 0.1, 1, 0, True, "strays", 1),
    "IQ2_S": Lattice("iq2_s", 1, 16, 9, 0.1, 2, 0.25, False, "strays", 0.9875),
    "IQ3_XXS": Lattice("iq3_xxs", 2, 32, 15, 0.2, 2, 0, True, "strays", 1.0125),
    "IQ3_S": Lattice("iq3_s", 3, 32, 9, 0.2, 2, 0, False, "all if any", 1.033),
}

TWINS = {name: partial(lattice, rule=rule) for name, rule in _RULES.items()}
TWINS |= {"IQ1_S": partial(ternary, group=32), "IQ1_M": partial(ternary, group=16)}
"""Each takes the importance of a block's weights too, or None."""
