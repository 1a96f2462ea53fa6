"""Rounding with feedback and coordinate descent for types whose codes stand for several neighbouring weights at once.

Eight weights, a unit, are chosen together: one point or two, and their signs. Where an error E of the unit costs
E M E^T, M being its part of the second moments, and t is what would cost nothing, the unit becomes the points q for
which (t - q) M (t - q)^T is least. In feedback M and t are those of the columns behind, as if these could still make up
for anything (the vector form of GPTQ that QuIP#, Tseng et al. 2024, rounds to lattices with); in descent those of all
other columns as they are. All points are tried, sixteen in a vector.
"""

import numpy as np

from quantize_cli.calibration.rounding.descent import CODES, SCALE_CODES, SCALES, improve_code, improve_half
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import lane_numbers, largest, load, lowest, select, splat, store
from quantize_cli.quants import Signs

f32 = np.float32
UNIT = 8
_NONE, _EVEN = int(Signs.NONE), int(Signs.EVEN)
_NOWHERE = -(2**30)
_WORTH = f32(1e-6)
"""The share of its cost by which a unit must become better for its codes to change: more than roundings make up."""
_TERMS = UNIT * (UNIT + 3) // 2


@inlined
def _nearest_point(length, points, low, high, terms):
    """The number of the point p for which sum over i of p_i (c_i + sum over j <= i of b_ij p_j) is least.

    points (length, n) f32; `terms` has c_0, b_00, c_1, b_10, b_11, c_2 and so on.
    """
    least, best = splat(f32(np.inf)), splat(low)
    for at in range(low, high, 16):
        cost, term = splat(f32(0)), 0
        for i in range(length):
            inner = splat(terms[term])
            for j in range(i + 1):
                inner = inner + splat(terms[term + 1 + j]) * load(points, j, at)
            term += i + 2
            cost = cost + inner * load(points, i, at)
        lower = cost < least
        least = select(lower, cost, least)
        best = select(lower, lane_numbers() + at, best)
    nearest = select(least == splat(lowest(least)), best * -1, splat(_NOWHERE))
    return -largest(nearest)


@inlined
def _choose_signs(rule, target, metric, sign):
    """The signs of the target; where their number must be even, the cheapest is turned."""
    negative, cheapest, least = 0, 0, f32(np.inf)
    for i in range(UNIT):
        is_negative = rule != _NONE and target[i] < f32(0)
        sign[i] = f32(-1) if is_negative else f32(1)
        negative += is_negative
        cost = target[i] * target[i] * metric[i, i]
        if cost < least:
            cheapest, least = i, cost
    if rule == _EVEN and negative % 2 == 1:
        sign[cheapest] = -sign[cheapest]


@inlined
def _choose_point(length, points, low, high, first, target, metric, sign, chosen, terms):
    """The best point for columns first .. first + length - 1 of a unit, the others staying as `chosen`."""
    term = 0
    for i in range(length):
        linear, s = f32(0), sign[first + i]
        for j in range(UNIT):
            inside = first <= j < first + length
            linear += metric[first + i, j] * (target[j] if inside else target[j] - chosen[j])
        terms[term] = f32(-2) * s * linear
        for j in range(i):
            terms[term + 1 + j] = f32(2) * s * sign[first + j] * metric[first + i, first + j]
        terms[term + 1 + i] = metric[first + i, first + i]
        term += i + 2
    return _nearest_point(length, points, low, high, terms)


@inlined
def _cost(target, chosen, metric):
    """(t - q) M (t - q)^T."""
    total = f32(0)
    for i in range(UNIT):
        inner = f32(0)
        for j in range(UNIT):
            inner += metric[i, j] * (target[j] - chosen[j])
        total += (target[i] - chosen[i]) * inner
    return total


@inlined
def _choose_unit(length, rule, points, low, high, target, metric, sign, chosen, point, terms):
    """Round `target` (8,) to `chosen`: `point` and `sign` receive what that is. Gives its cost."""
    _choose_signs(rule, target, metric, sign)
    for i in range(UNIT):
        chosen[i] = target[i]
    runs = UNIT // length
    for turn in range(2 * runs - 1):  # the first once more, now that the second is known
        run = turn % runs
        point[run] = _choose_point(length, points, low, high, run * length, target, metric, sign, chosen, terms)
        for i in range(length):
            chosen[run * length + i] = sign[run * length + i] * points[i, point[run]]
    return _cost(target, chosen, metric)


@inlined
def _keep(unit, length, row, unit_choice, codes):
    """Write down what was chosen for a unit: its points, its signs as bits, its values before they are scaled."""
    sign, chosen, picked = unit_choice
    point, bits, value = codes
    negative = 0
    for i in range(UNIT):
        negative |= (sign[i] < f32(0)) << i
        value[row, UNIT * unit + i] = chosen[i]
    bits[row, unit] = negative
    for run in range(UNIT // length):
        point[row, UNIT // length * unit + run] = picked[run]


@inlined
def _room():
    """sign, chosen (8,) f32, point (2,) i32, and target (8,), terms f32."""
    unit_choice = np.empty(UNIT, np.float32), np.empty(UNIT, np.float32), np.empty(2, np.int32)
    return unit_choice, np.empty(UNIT, np.float32), np.empty(_TERMS, np.float32)


@inlined
def _bounds(points, choices, point, row, run):
    """The numbers of the points that a run's group has settled for."""
    share = points.shape[1] // choices
    low = point[row, run] // share * share
    return low, low + share


@inlined
def _round_units(length, rule, choices, points, weights, target, carry, metrics, inverses, step, codes, error):
    columns, (unit_choice, goal, terms) = weights.shape[1], _room()
    sign, chosen, picked = unit_choice
    group = columns // step.shape[1]
    for row in range(weights.shape[0]):
        for unit in range(columns // UNIT):
            first, d = unit * UNIT, step[row, unit * UNIT // group]
            for i in range(UNIT):
                error[row, first + i] = weights[row, first + i]
            if d != f32(0):
                for i in range(UNIT):
                    sum_ = weights[row, first + i]
                    for j in range(UNIT):
                        sum_ += (target[row, first + j] - weights[row, first + j]) * inverses[unit, j, i]
                    goal[i] = sum_ / d
                low, high = _bounds(points, choices, codes[0], row, first // length)
                _choose_unit(length, rule, points, low, high, goal, metrics[unit], sign, chosen, picked, terms)
                _keep(unit, length, row, unit_choice, codes)
                for i in range(UNIT):
                    error[row, first + i] -= d * chosen[i]
            for column in range(first, first + UNIT):
                left = splat(error[row, column])
                for i in range(first // 16 * 16, columns, 16):  # what changes of columns already rounded is not read
                    store(target, row, i, load(target, row, i) + load(carry, column, i) * left)


@kernel
def round_runs_with_feedback(
    rule, choices, points, weights, target, carry, metrics, inverses, step, point, bits, value, error
):  # fmt: skip
    """Round neighbouring columns from left to right, a unit at a time, each row on its own.

    points (4 or 8, n) f32; weights, target, carry and error are those of feedback.round_with_feedback; metrics and
    inverses (n / 8, 8, 8) f32 what an error in a unit costs and what takes feedback to where it is owed; step (rows,
    groups) f32 -> point (rows, runs) i16, of which the group's choice is kept, bits (rows, n / 8) u8 and value (rows,
    n) f32.
    """
    codes = point, bits, value
    if points.shape[0] == 4:
        _round_units(4, rule, choices, points, weights, target, carry, metrics, inverses, step, codes, error)
    else:
        _round_units(8, rule, choices, points, weights, target, carry, metrics, inverses, step, codes, error)


@inlined
def _improve_unit(length, rule, choices, points, row, unit, d, metric, inverse, codes, room, state):
    """Choose a unit anew if that lessens the error."""
    (unit_choice, goal, terms), (moments, gradient, error, _, _), value = room, state, codes[2]
    sign, chosen, picked = unit_choice
    first = unit * UNIT
    for i in range(UNIT):
        owed = f32(0)
        for j in range(UNIT):
            owed += gradient[row, first + j] * inverse[j, i]
        goal[i] = value[row, first + i] + owed / d
        chosen[i] = value[row, first + i]
    before = _cost(goal, chosen, metric)
    low, high = _bounds(points, choices, codes[0], row, first // length)
    after = _choose_unit(length, rule, points, low, high, goal, metric, sign, chosen, picked, terms)
    if not after < before - _WORTH * before:
        return 0
    for i in range(UNIT):
        change = d * (chosen[i] - value[row, first + i])
        error[row, first + i] -= change
        for at in range(0, gradient.shape[1], 16):
            store(gradient, row, at, load(gradient, row, at) - load(moments, first + i, at) * splat(change))
    _keep(unit, length, row, unit_choice, codes)
    return 1


@inlined
def _improve_scales(row, changing, ends, scale, scale_code, value, state):
    """Change the scale of each block of a row, and the code of each group's scale."""
    moments, gradient, error, direction, product = state
    columns, changes = gradient.shape[1], 0
    width, group = columns // scale.shape[1], columns // scale_code.shape[1]
    for block in range(scale.shape[1]):
        start, stop = block * width, (block + 1) * width
        if changing & SCALES:
            for i in range(start, stop):
                direction[0, i] = f32(2 * scale_code[row, i // group] + 1) * value[row, i]
            changes += improve_half(scale, row, block, direction, start, stop, moments, gradient, error, product)
        if changing & SCALE_CODES:
            for i in range(start, stop):
                direction[0, i] = f32(2) * scale[row, block] * value[row, i]
            for part in range(start // group, stop // group):
                first = part * group
                changes += improve_code(
                    scale_code, row, part, ends, direction, first, first + group, moments, gradient, error, product
                )
    return changes


@inlined
def _descend(
    length, rule, choices, points, gradient, moments, metrics, inverses, ends, changing, rounds, scale, scale_code,
    codes, error,
):  # fmt: skip
    columns, room = gradient.shape[1], _room()
    group, width = columns // scale_code.shape[1], columns // scale.shape[1]
    direction, product = np.zeros((1, columns), np.float32), np.empty((1, columns), np.float32)
    state = moments, gradient, error, direction, product
    for row in range(gradient.shape[0]):
        for _ in range(rounds):
            changes = 0
            if changing & (SCALES | SCALE_CODES):
                changes += _improve_scales(row, changing, ends, scale, scale_code, codes[2], state)
            for unit in range(columns // UNIT if changing & CODES else 0):
                d = scale[row, unit * UNIT // width] * f32(2 * scale_code[row, unit * UNIT // group] + 1)
                if d != f32(0):
                    changes += _improve_unit(
                        length, rule, choices, points, row, unit, d, metrics[unit], inverses[unit], codes, room, state
                    )
            if changes == 0:
                break


@kernel
def descend_runs(
    rule, choices, points, gradient, moments, metrics, inverses, ends, changing, rounds, scale, scale_code, point, bits,
    value, error,
):  # fmt: skip
    """Lessen the errors of rows by changing what stands for neighbouring columns, as long as others stay.

    metrics (n / 8, 8, 8) f32 are the blocks on the diagonal of `moments`, inverses theirs; for gradient, moments,
    changing, rounds and error see descent.descend, for the other arrays `round_runs_with_feedback`.
    """
    codes = point, bits, value
    if points.shape[0] == 4:
        _descend(
            4, rule, choices, points, gradient, moments, metrics, inverses, ends, changing, rounds, scale, scale_code,
            codes, error,
        )  # fmt: skip
    else:
        _descend(
            8, rule, choices, points, gradient, moments, metrics, inverses, ends, changing, rounds, scale, scale_code,
            codes, error,
        )  # fmt: skip
