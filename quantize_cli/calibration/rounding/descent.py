"""Coordinate descent: codes, scales and minima changed one at a time while that lessens the error.

The error of a row is E H E^T, E being the weights less what stands for them, H the second moment of the inputs. Where
what stands there grows by v, it falls by 2 v G - v H v^T, with G = E H. Each step takes the multiple of one direction
that lessens it most, of those the type can express: so the error never grows.

    code              one column                                     by a difference of two levels times the step
    scale code        the levels of a group times the scale          by a whole number
    minimum code      a group's columns alike, times the minimum     by a whole number
    scale, minimum    the same for all groups of a block at once     by what IEEE halves allow
"""

import numpy as np

from quantize_cli.calibration.rounding.feedback import nearest_level
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import from_half, load, splat, store, to_half, total

f32 = np.float32
CODES, SCALE_CODES, SCALES = 1, 2, 4
"""What may change: add them up."""
ROUNDS = 2
"""Times a window is gone over before the next one's turn."""
_MOST = f32(256)
"""No code has a wider range."""
_LARGEST_HALF = f32(65504)


@inlined
def _multiply(direction, start, stop, moments, first, last, product):
    """Columns [first, last) of v H (1, n), for a direction v (1, n) that is nought outside [start, stop)."""
    for i in range(first, last, 16):
        store(product, 0, i, splat(f32(0)))
    for column in range(start, stop):
        times = splat(direction[0, column])
        for i in range(first, last, 16):
            store(product, 0, i, load(product, 0, i) + load(moments, column, i) * times)


@inlined
def _measure(direction, start, stop, row, product, gradient):
    """v G and v H v^T, where the product v H is known."""
    slope, curvature = splat(f32(0)), splat(f32(0))
    for i in range(start, stop, 16):
        along = load(direction, 0, i)
        slope = slope + along * load(gradient, row, i)
        curvature = curvature + along * load(product, 0, i)
    return total(slope), total(curvature)


@inlined
def _move(direction, times, start, stop, row, product, gradient, error):
    """Let what stands for the columns grow by `times` the direction, whose whole product is known."""
    for i in range(start, stop, 16):
        store(error, row, i, load(error, row, i) - load(direction, 0, i) * splat(times))
    for i in range(0, gradient.shape[1], 16):
        store(gradient, row, i, load(gradient, row, i) - load(product, 0, i) * splat(times))


@inlined
def _lessens(change, slope, curvature):
    """Whether going so far along a direction lessens the error."""
    return change * (f32(2) * slope - change * curvature) > f32(0)


@inlined
def improve_half(halves, row, block, direction, start, stop, moments, gradient, error, product):
    """Change a scale or a minimum, by which the direction is multiplied."""
    _multiply(direction, start, stop, moments, 0, gradient.shape[1], product)
    slope, curvature = _measure(direction, start, stop, row, product, gradient)
    if not curvature > f32(0):
        return 0
    best = from_half(to_half(halves[row, block] + slope / curvature))
    change = best - halves[row, block]
    if not (abs(best) <= _LARGEST_HALF and _lessens(change, slope, curvature)):
        return 0
    halves[row, block] = best
    _move(direction, change, start, stop, row, product, gradient, error)
    return 1


@inlined
def improve_code(codes, row, part, ends, direction, start, stop, moments, gradient, error, product):
    """Change the code of a scale or a minimum within its ends."""
    _multiply(direction, start, stop, moments, start, stop, product)
    slope, curvature = _measure(direction, start, stop, row, product, gradient)
    if not curvature > f32(0):
        return 0
    growth = int(np.rint(min(max(slope / curvature, -_MOST), _MOST)))
    change = min(max(codes[row, part] + growth, ends[0]), ends[1]) - codes[row, part]
    if not _lessens(f32(change), slope, curvature):
        return 0
    codes[row, part] += change
    _multiply(direction, start, stop, moments, 0, gradient.shape[1], product)
    _move(direction, f32(change), start, stop, row, product, gradient, error)
    return 1


@inlined
def _improve_levels(row, part, group, step, levels, is_even, level, moments, gradient, error):
    """Change the codes of a group, whose step is not nought; a column that costs nothing keeps its own."""
    changes = 0
    for column in range(part * group, (part + 1) * group):
        if not moments[column, column] > f32(0):
            continue
        now = step * levels[level[row, column]]
        best = (now + gradient[row, column] / moments[column, column]) / step
        chosen = nearest_level(best, levels, is_even)
        if chosen != level[row, column]:
            change = step * levels[chosen] - now
            level[row, column] = chosen
            changes += 1
            error[row, column] -= change
            for i in range(0, gradient.shape[1], 16):
                store(gradient, row, i, load(gradient, row, i) - load(moments, column, i) * splat(change))
    return changes


@inlined
def _improve_blocks(row, group, levels, sign, codes, state):
    """Change the scale and the minimum of each block of a row."""
    moments, gradient, error, direction, product = state
    scale, minimum, scale_code, minimum_code, level = codes
    width = gradient.shape[1] // scale.shape[1]
    changes = 0
    for block in range(scale.shape[1]):
        start, stop = block * width, (block + 1) * width
        for i in range(start, stop):
            direction[0, i] = f32(scale_code[row, i // group]) * levels[level[row, i]]
        changes += improve_half(scale, row, block, direction, start, stop, moments, gradient, error, product)
        if sign != 0:
            for i in range(start, stop):
                direction[0, i] = f32(sign * minimum_code[row, i // group])
            changes += improve_half(minimum, row, block, direction, start, stop, moments, gradient, error, product)
    return changes


@inlined
def _improve_scale_codes(row, part, group, levels, d, m, ends, codes, state):
    """Change the codes of a group's scale and minimum, which are multiplied by d and m."""
    moments, gradient, error, direction, product = state
    _, _, scale_code, minimum_code, level = codes
    scale_ends, minimum_ends = ends
    start, stop = part * group, (part + 1) * group
    changes = 0
    if scale_ends[1] > scale_ends[0]:
        for i in range(start, stop):
            direction[0, i] = d * levels[level[row, i]]
        changes += improve_code(
            scale_code, row, part, scale_ends, direction, start, stop, moments, gradient, error, product
        )
    if minimum_ends[1] > minimum_ends[0]:
        for i in range(start, stop):
            direction[0, i] = m
        changes += improve_code(
            minimum_code, row, part, minimum_ends, direction, start, stop, moments, gradient, error, product
        )
    return changes


@inlined
def _improve_groups(row, group, levels, is_even, sign, ends, changing, codes, state):
    """Change the codes of each group of a row: first of its scale and minimum, then of its weights."""
    moments, gradient, error, _, _ = state
    scale, minimum, scale_code, _, level = codes
    width = gradient.shape[1] // scale.shape[1]
    changes = 0
    for part in range(gradient.shape[1] // group):
        block = part * group // width
        d, m = scale[row, block], f32(sign) * minimum[row, block]
        if changing & SCALE_CODES:
            changes += _improve_scale_codes(row, part, group, levels, d, m, ends, codes, state)
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
    f32 are kept up to date. The other arrays are those of level_codes.Codes. Equal ends mean that there is no such
    code.
    """
    columns = gradient.shape[1]
    direction, product = np.zeros((1, columns), np.float32), np.empty((1, columns), np.float32)
    state = moments, gradient, error, direction, product
    codes, ends = (scale, minimum, scale_code, minimum_code, level), (scale_ends, minimum_ends)
    for row in range(gradient.shape[0]):
        for _ in range(rounds):
            changes = 0
            if changing & SCALES:
                changes += _improve_blocks(row, group, levels, sign, codes, state)
            if changing & (CODES | SCALE_CODES):
                changes += _improve_groups(row, group, levels, is_even, sign, ends, changing, codes, state)
            if changes == 0:
                break
