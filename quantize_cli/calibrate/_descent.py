"""Coordinate descent: codes, scales and minima changed one at a time while that lessens the error.

The error of a row is E H E^T, E being what is wanted less what stands for it, H the second moment of the inputs. Where
what stands there grows by v, it falls by 2 v G - v H v^T, with G = E H. Each step takes the multiple of one direction
that lessens it most, of those the type can express: so the error never grows.

    code              one column                                     by a difference of two levels times the step
    scale code        the levels of a group times the scale          by a whole number
    minimum code      a group's columns alike, times the minimum     by a whole number
    scale, minimum    the same for all groups of a block at once     by what IEEE halves allow
"""

import numpy as np

from quantize_cli.calibrate._feedback import nearest_level
from quantize_cli.kernel import inlined, kernel
from quantize_cli.simd import from_half, to_half

f32 = np.float32
CODES, SCALE_CODES, SCALES = 1, 2, 4
"""What may change: add them up."""
_MOST = f32(256)
"""No code has a wider range."""


@inlined
def _move(direction, times, start, stop, moments, gradient, error):
    """Let what stands for columns [start, stop) grow by `times` the direction."""
    for column in range(start, stop):
        change = times * direction[column]
        if change != f32(0):
            error[column] -= change
            line = moments[column]
            for other in range(gradient.shape[0]):
                gradient[other] -= change * line[other]


@inlined
def _measure(direction, start, stop, moments, gradient, product):
    """v G and v H v^T of a direction v that is nought outside [start, stop)."""
    for i in range(start, stop):
        product[i] = f32(0)
    for column in range(start, stop):
        if direction[column] != f32(0):
            line = moments[column]
            for i in range(start, stop):
                product[i] += direction[column] * line[i]
    slope, curvature = f32(0), f32(0)
    for i in range(start, stop):
        slope += direction[i] * gradient[i]
        curvature += direction[i] * product[i]
    return slope, curvature


@inlined
def _lessens(change, slope, curvature):
    """Whether going so far along a direction lessens the error."""
    return change * (f32(2) * slope - change * curvature) > f32(0)


@inlined
def _improve_half(halves, row, block, direction, start, stop, moments, gradient, error, product):
    """Change a scale or a minimum, by which the direction is multiplied."""
    slope, curvature = _measure(direction, start, stop, moments, gradient, product)
    if not curvature > f32(0):
        return 0
    best = from_half(to_half(halves[row, block] + slope / curvature))
    change = best - halves[row, block]
    if not (abs(best) <= f32(65504) and _lessens(change, slope, curvature)):
        return 0
    halves[row, block] = best
    _move(direction, change, start, stop, moments, gradient, error)
    return 1


@inlined
def _improve_code(codes, row, part, ends, direction, start, stop, moments, gradient, error, product):
    """Change the code of a scale or a minimum within its ends."""
    slope, curvature = _measure(direction, start, stop, moments, gradient, product)
    if not curvature > f32(0):
        return 0
    growth = int(np.rint(min(max(slope / curvature, -_MOST), _MOST)))
    change = min(max(codes[row, part] + growth, ends[0]), ends[1]) - codes[row, part]
    if not _lessens(f32(change), slope, curvature):
        return 0
    codes[row, part] += change
    _move(direction, f32(change), start, stop, moments, gradient, error)
    return 1


@inlined
def _improve_levels(row, part, group, step, levels, is_even, level, moments, gradient, error):
    """Change the codes of a group, whose step is not nought; a column that costs nothing keeps its own."""
    changes = 0
    for column in range(part * group, (part + 1) * group):
        if not moments[column, column] > f32(0):
            continue
        now = step * levels[level[row, column]]
        best = (now + gradient[column] / moments[column, column]) / step
        chosen = nearest_level(best, levels, is_even)
        if chosen != level[row, column]:
            change = step * levels[chosen] - now
            level[row, column] = chosen
            changes += 1
            error[column] -= change
            line = moments[column]
            for other in range(gradient.shape[0]):
                gradient[other] -= change * line[other]
    return changes


@inlined
def _improve_blocks(row, group, levels, sign, codes, moments, gradient, error, direction, product):
    """Change the scale and the minimum of each block of a row."""
    scale, minimum, scale_code, minimum_code, level = codes
    width = gradient.shape[0] // scale.shape[1]
    changes = 0
    for block in range(scale.shape[1]):
        start, stop = block * width, (block + 1) * width
        for i in range(start, stop):
            direction[i] = f32(scale_code[row, i // group]) * levels[level[row, i]]
        changes += _improve_half(scale, row, block, direction, start, stop, moments, gradient, error, product)
        if sign != 0:
            for i in range(start, stop):
                direction[i] = f32(sign * minimum_code[row, i // group])
            changes += _improve_half(minimum, row, block, direction, start, stop, moments, gradient, error, product)
    return changes


@inlined
def _improve_scale_codes(row, part, group, levels, d, m, ends, codes, moments, gradient, error, direction, product):
    """Change the codes of a group's scale and minimum, which are multiplied by d and m."""
    _, _, scale_code, minimum_code, level = codes
    scale_ends, minimum_ends = ends
    start, stop = part * group, (part + 1) * group
    changes = 0
    if scale_ends[1] > scale_ends[0]:
        for i in range(start, stop):
            direction[i] = d * levels[level[row, i]]
        changes += _improve_code(
            scale_code, row, part, scale_ends, direction, start, stop, moments, gradient, error, product
        )
    if minimum_ends[1] > minimum_ends[0]:
        for i in range(start, stop):
            direction[i] = m
        changes += _improve_code(
            minimum_code, row, part, minimum_ends, direction, start, stop, moments, gradient, error, product
        )
    return changes


@inlined
def _improve_groups(
    row, group, levels, is_even, sign, ends, changing, codes, moments, gradient, error, direction, product
):
    """Change the codes of each group of a row: first of its scale and minimum, then of its weights."""
    scale, minimum, scale_code, _, level = codes
    width = gradient.shape[0] // scale.shape[1]
    changes = 0
    for part in range(gradient.shape[0] // group):
        block = part * group // width
        d, m = scale[row, block], f32(sign) * minimum[row, block]
        if changing & SCALE_CODES:
            changes += _improve_scale_codes(
                row, part, group, levels, d, m, ends, codes, moments, gradient, error, direction, product
            )
        step = d * f32(scale_code[row, part])
        if changing & CODES and step != f32(0):
            changes += _improve_levels(row, part, group, step, levels, is_even, level, moments, gradient, error)
    return changes


@kernel
def descend(
    gradient, moments, group, levels, is_even, sign, scale_ends, minimum_ends, changing, rounds,
    scale, minimum, scale_code, minimum_code, level, error,
):  # fmt: skip
    """Lessen the errors of rows by changing what stands for neighbouring columns, as long as others stay.

    gradient (rows, n) f32 is G at these columns and moments (n, n) f32 H among them; both gradient and error (rows, n)
    f32 are kept up to date. The other arrays are those of _codes.Codes; equal ends mean that there is no such code.
    """
    columns = gradient.shape[1]
    direction, product = np.zeros(columns, np.float32), np.empty(columns, np.float32)
    codes, ends = (scale, minimum, scale_code, minimum_code, level), (scale_ends, minimum_ends)
    for row in range(gradient.shape[0]):
        g, e = gradient[row], error[row]
        for _ in range(rounds):
            changes = 0
            if changing & SCALES:
                changes += _improve_blocks(row, group, levels, sign, codes, moments, g, e, direction, product)
            if changing & (CODES | SCALE_CODES):
                changes += _improve_groups(
                    row, group, levels, is_even, sign, ends, changing, codes, moments, g, e, direction, product
                )
            if changes == 0:
                break
