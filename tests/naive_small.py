"""Slow twins, as in naive.py, of the types of two to four bits: K-quants of 16, uneven levels, small floats, signs."""

from collections.abc import Sequence
from itertools import pairwise
from math import copysign, floor, log2

import numpy as np

from tests.naive import Codes, clamp, extreme, f32, half, nearest, scale_and_minimum

_UNEVEN = [f32(v) for v in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)]
_E2M1 = [f32(v) for v in (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)]
_UE4M3 = [f32(m * 2.0**-9) for m in range(8)] + [
    f32((1 + m / 8) * 2.0 ** (e - 7)) for e in range(1, 16) for m in range(8)
]


def q1_0(weights: Sequence[np.float32]) -> Codes:
    total = f32(0)
    for w in weights:
        total += abs(w)
    return {"scale": half(total / f32(128)), "code": [int(w >= 0) for w in weights]}


def ternary(weights: Sequence[np.float32]) -> Codes:
    """Q2_0, TQ1_0 and TQ2_0."""
    scale = abs(extreme(weights))
    scaled = [float(w * (f32(1) / scale)) for w in weights]
    return {"scale": half(scale), "code": [1 + int(copysign(floor(abs(x) + 0.5), x)) for x in scaled]}


def _e2m1(weights: Sequence[np.float32], half_scale: np.float32) -> list[int]:
    codes = []
    for w in weights:
        errors = [abs(level * half_scale - w) for level in _E2M1]
        codes.append(errors.index(min(errors)))
    return codes


def mxfp4(weights: Sequence[np.float32]) -> Codes:
    exponent = floor(f32(log2(abs(extreme(weights))))) + 125
    return {"exponent": exponent, "code": _e2m1(weights, f32(2.0 ** (exponent - 128)))}


def nvfp4(weights: np.ndarray) -> Codes:
    result: Codes = {"scale_code": [], "code": []}
    for group in weights.reshape(4, 16):
        scale = abs(extreme(group)) / f32(6)
        code = sum(scale >= (a + b) / f32(2) for a, b in pairwise(_UE4M3))
        result["scale_code"].append(code)
        result["code"] += _e2m1(group, _UE4M3[code] / f32(2))
    return result


def _uneven(scaled: np.float32) -> int:
    """The code of the nearest level, the higher of two."""
    return max(range(16), key=lambda code: (-abs(_UNEVEN[code] - scaled), code))


def _uneven_scale(weights: Sequence[np.float32]) -> np.float32:
    """Of sixteen ranges the one whose levels explain most energy; a weight costs its square."""
    scale = best = f32(0)
    for shift in (None, *range(-7, 8)):
        inverse = f32(1) / (extreme(weights) / f32(127)) if shift is None else f32(shift - 127) / extreme(weights)
        sum_vw = sum_vv = f32(0)
        for w in weights:
            level = _UNEVEN[_uneven(inverse * w)]
            sum_vw, sum_vv = sum_vw + w * w * level * w, sum_vv + w * w * level * level
        if shift is None or (sum_vv > 0 and sum_vw * sum_vw > best * sum_vv):
            scale = sum_vw / sum_vv
            best = scale * sum_vw
    return scale


def iq4_nl(weights: Sequence[np.float32]) -> Codes:
    scale = _uneven_scale(weights)
    return {"scale": half(scale), "code": [_uneven(f32(1) / scale * w) for w in weights]}


def iq4_xs(weights: np.ndarray) -> Codes:
    groups = weights.reshape(8, 32)
    scales = [_uneven_scale(group) for group in groups]
    scale = -extreme(scales) / f32(32)
    result: Codes = {"scale": half(scale), "scale_code": [], "code": []}
    for group, found in zip(groups, scales, strict=True):
        scale_code = clamp(nearest(f32(1) / scale * found), -32, 31)
        result["scale_code"].append(scale_code)
        result["code"] += [_uneven(f32(1) / (scale * f32(scale_code)) * w) for w in group]
    return result


def q2_k(weights: np.ndarray) -> Codes:
    """Without importance: a weight costs its magnitude, an error counts by its own."""
    groups = weights.reshape(16, 16)
    found = [scale_and_minimum(group, [abs(w) for w in group], 3, -0.5, 0.1, 15, by_magnitude=True) for group in groups]
    result: Codes = {"code": []}
    for name, values in (("scale", [s for s, _ in found]), ("minimum", [m for _, m in found])):
        largest = max(f32(0), max(values))
        result[name] = half(largest / f32(15))
        result[f"{name}_code"] = [nearest(f32(15) / largest * value) if largest > 0 else 0 for value in values]
    for group, s, m in zip(groups, result["scale_code"], result["minimum_code"], strict=True):
        scale, low = result["scale"] * f32(s), result["minimum"] * f32(m)
        result["code"] += [clamp(nearest((w + low) / scale), 0, 3) for w in group]
    return result


def q3_k(weights: np.ndarray) -> Codes:
    """Without importance: a weight costs its square."""
    groups = weights.reshape(16, 16)
    scales = [_descended_scale(group, 4) for group in groups]
    inverse = f32(-32) / extreme(scales)
    scale = half(f32(1) / inverse)
    scale_codes = [clamp(nearest(inverse * s), -32, 31) for s in scales]
    codes: list[int] = []
    for group, s in zip(groups, scale_codes, strict=True):
        codes += [clamp(nearest(w / (scale * f32(s))), -4, 3) + 4 for w in group]
    return {"scale": scale, "scale_code": scale_codes, "code": codes}


def _descended_scale(group: np.ndarray, limit: int) -> np.float32:
    """Codes of the plain range, each moved in turn while that explains more energy."""

    def encoded(scaled: np.float32) -> np.float32:
        return f32(clamp(nearest(scaled), -limit, limit - 1))

    codes = [encoded(f32(-limit) / extreme(group) * w) for w in group]
    sum_cw = sum_cc = f32(0)
    for w, code in zip(group, codes, strict=True):
        sum_cw, sum_cc = sum_cw + w * w * w * code, sum_cc + w * w * code * code
    for _ in range(5):
        before = list(codes)
        for i, w in enumerate(group):
            rest_cw, rest_cc = sum_cw - w * w * w * codes[i], sum_cc - w * w * codes[i] * codes[i]
            if rest_cw <= 0:
                continue
            code = encoded(w * rest_cc / rest_cw)
            moved_cw, moved_cc = rest_cw + w * w * w * code, rest_cc + w * w * code * code
            if code != codes[i] and moved_cc > 0 and moved_cw * moved_cw * sum_cc > sum_cw * sum_cw * moved_cc:
                codes[i], sum_cw, sum_cc = code, moved_cw, moved_cc
        if codes == before:
            break
    return sum_cw / sum_cc


TWINS = {
    "Q1_0": q1_0,
    "Q2_0": ternary,
    "TQ1_0": ternary,
    "TQ2_0": ternary,
    "MXFP4": mxfp4,
    "NVFP4": nvfp4,
    "IQ4_NL": iq4_nl,
    "IQ4_XS": iq4_xs,
    "Q2_K": q2_k,
    "Q3_K": q3_k,
}
