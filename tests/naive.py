"""Slow twins of the quantizers, written from the formulas in their docstrings with one weight at a time.

They know nothing of lanes: where a kernel and its twin differ, one of them is wrong. Each takes one block of float32
weights and gives the codes as a dict of plain Python numbers.
"""

from collections.abc import Sequence
from math import copysign, floor
from typing import Any

import numpy as np

f32 = np.float32
Codes = dict[str, Any]


def half(number: np.float32) -> np.float32:
    """The number as an IEEE half keeps it."""
    return f32(np.float16(number))


def nearest(number: np.float32) -> int:
    """Round to nearest, ties to even."""
    return int(np.rint(number))


def clamp(number: int, low: int, high: int) -> int:
    return max(low, min(high, number))


def extreme(weights: Sequence[np.float32]) -> np.float32:
    """The weight of largest magnitude, the first of several."""
    return max(weights, key=abs)


def q8_0(weights: Sequence[np.float32]) -> Codes:
    scale = abs(extreme(weights)) / f32(127)
    inverse = f32(1) / scale if scale else f32(0)
    scaled = [float(w * inverse) for w in weights]
    return {"scale": half(scale), "code": [int(copysign(floor(abs(x) + 0.5), x)) for x in scaled]}


def symmetric(weights: Sequence[np.float32], limit: int) -> Codes:
    """Q4_0 with a limit of 8, Q5_0 with 16."""
    scale = extreme(weights) / f32(-limit)
    inverse = f32(1) / scale if scale else f32(0)
    codes = [min(2 * limit - 1, int(w * inverse + f32(limit + 0.5))) for w in weights]
    return {"scale": half(scale), "code": codes}


def affine(weights: Sequence[np.float32], top: int) -> Codes:
    """Q4_1 with a top of 15, Q5_1 with 31."""
    low = min(weights)
    scale = (max(weights) - low) / f32(top)
    inverse = f32(1) / scale if scale else f32(0)
    codes = [min(top, int((w - low) * inverse + f32(0.5))) for w in weights]
    return {"scale": half(scale), "minimum": half(low), "code": codes}


def scale_and_minimum(
    weights: Sequence[np.float32],
    costs: Sequence[np.float32],
    top: int,
    first: float,
    step: float,
    steps: int,
    by_magnitude: bool = False,
) -> tuple[np.float32, np.float32]:
    """The weighted least-squares line of the best of steps + 1 ranges, the plain range to beat."""
    low, high = min(f32(0), min(weights)), max(weights)
    if high == low:
        return f32(0), -low

    def encoded(inverse: np.float32, origin: np.float32) -> list[np.float32]:
        return [f32(clamp(nearest(inverse * (w - origin)), 0, top)) for w in weights]

    def loss(codes: Sequence[np.float32], scale: np.float32, origin: np.float32) -> np.float32:
        total = f32(0)
        for w, cost, code in zip(weights, costs, codes, strict=True):
            error = scale * code + origin - w
            total += cost * (abs(error) if by_magnitude else error * error)
        return total

    inverse = f32(top) / (high - low)
    scale, origin = f32(1) / inverse, low
    best = loss(encoded(inverse, low), scale, low)
    sum_i, sum_iw = f32(0), f32(0)
    for w, cost in zip(weights, costs, strict=True):
        sum_i, sum_iw = sum_i + cost, sum_iw + cost * w
    for turn in range(steps + 1):
        codes = encoded((f32(first) + f32(step) * f32(turn) + f32(top)) / (high - origin), origin)
        sum_c = sum_cc = sum_cw = f32(0)
        for w, cost, code in zip(weights, costs, codes, strict=True):
            sum_c, sum_cc, sum_cw = sum_c + cost * code, sum_cc + cost * code * code, sum_cw + cost * code * w
        determinant = sum_i * sum_cc - sum_c * sum_c
        if determinant <= 0:
            continue
        a, b = (sum_i * sum_cw - sum_iw * sum_c) / determinant, (sum_cc * sum_iw - sum_c * sum_cw) / determinant
        if b > 0:
            a, b = sum_cw / sum_cc, f32(0)
        if loss(codes, a, b) < best:
            best, scale, origin = loss(codes, a, b), a, b
    return scale, -origin


def pairs(weights: np.ndarray, top: int, first: float, step: float, steps: int) -> Codes:
    """Q4_K and Q5_K without importance: a weight costs its magnitude plus its group's root mean square."""
    groups = weights.reshape(8, 32)
    found = []
    for group in groups:
        squares = f32(0)
        for w in group:
            squares += w * w
        average = np.sqrt(squares / f32(32))
        found.append(scale_and_minimum(group, [average + abs(w) for w in group], top, first, step, steps))
    result: Codes = {"code": []}
    for name, values in (("scale", [s for s, _ in found]), ("minimum", [m for _, m in found])):
        largest = max(f32(0), max(values))
        inverse = f32(63) / largest if largest > 0 else f32(0)
        result[name] = half(largest / f32(63))
        result[f"{name}_code"] = [min(63, nearest(inverse * value)) for value in values]
    for group, s, m in zip(groups, result["scale_code"], result["minimum_code"], strict=True):
        scale, low = result["scale"] * f32(s), result["minimum"] * f32(m)
        result["code"] += [clamp(nearest((w + low) / scale), 0, top) for w in group]
    return result


def q6_k(weights: np.ndarray) -> Codes:
    """Without importance: a weight costs its square."""
    groups = weights.reshape(16, 16)
    scales = [_best_scale(group, 32) for group in groups]
    inverse = f32(-128) / extreme(scales)
    scale = half(f32(1) / inverse)
    scale_codes = [min(127, nearest(inverse * s)) for s in scales]
    codes: list[int] = []
    for group, s in zip(groups, scale_codes, strict=True):
        codes += [clamp(nearest(w / (scale * f32(s))), -32, 31) + 32 for w in group]
    return {"scale": scale, "scale_code": scale_codes, "code": codes}


def _best_scale(group: np.ndarray, limit: int) -> np.float32:
    """Of nineteen ranges the one whose codes explain most weighted energy."""
    scale = best = f32(0)
    for shift in (0, *range(-9, 0), *range(1, 10)):
        inverse = -(f32(limit) + f32(0.1) * f32(shift)) / extreme(group)
        sum_cw = sum_cc = f32(0)
        for w in group:
            code = f32(clamp(nearest(inverse * w), -limit, limit - 1))
            sum_cw, sum_cc = sum_cw + w * w * w * code, sum_cc + w * w * code * code
        if shift == 0 or (sum_cc > 0 and sum_cw * sum_cw > best * sum_cc):
            scale = sum_cw / sum_cc
            best = scale * sum_cw
    return scale


TWINS = {
    "Q8_0": q8_0,
    "Q4_0": lambda weights: symmetric(weights, 8),
    "Q5_0": lambda weights: symmetric(weights, 16),
    "Q4_1": lambda weights: affine(weights, 15),
    "Q5_1": lambda weights: affine(weights, 31),
    "Q4_K": lambda weights: pairs(weights, 15, -1, 0.1, 20),
    "Q5_K": lambda weights: pairs(weights, 31, -0.5, 0.1, 15),
    "Q6_K": q6_k,
}
