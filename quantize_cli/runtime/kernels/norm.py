"""Rows scaled to unit root mean square, or to unit variance around zero."""

import numpy as np

from quantize_cli.jit.arguments import Arguments, f32_array, f32_number, number
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import operation, share
from quantize_cli.jit.simd import lane_numbers, load, load_some, multiply_add, select, splat, store, store_some, total

f32, i32 = np.float32, np.int32


@operation(Arguments(x=f32_array, weight=f32_array, bias=f32_array, y=f32_array, epsilon=f32_number, centres=number))
def norm(args, thread, threads):
    """y = (x - mean) / sqrt(mean square of that + epsilon) * weight + bias, row by row; threads share the rows.

    x (n, columns); weight (columns,); bias (columns,) or (0,); y like x or x itself; `centres`, whether the mean is
    taken off (1) or as zero (0).
    """
    x, weight, bias, y, epsilon = args.x, args.weight, args.bias, args.y, args.epsilon
    count = f32(x.shape[1])
    start, stop = share(x.shape[0], thread, threads)
    for row in range(start, stop):
        mean = f32(0)
        if args.centres:
            mean = _sum(x, row) / count
        scale = f32(1) / np.sqrt(_sum_of_squares(x, row, mean) / count + epsilon)
        if bias.shape[1]:
            _scale_and_shift(x, weight, bias, y, row, mean, scale)
        else:
            _scale(x, weight, y, row, mean, scale)


@merged
def _sum(x, row):
    columns = x.shape[1]
    whole = columns - columns % 64
    a, b, c, d = splat(f32(0)), splat(f32(0)), splat(f32(0)), splat(f32(0))
    for column in range(0, whole, 64):
        a = a + load(x, row, column)
        b = b + load(x, row, column + 16)
        c = c + load(x, row, column + 32)
        d = d + load(x, row, column + 48)
    for column in range(whole, columns, 16):
        a = a + load_some(x, row, column, columns - column)
    return total((a + b) + (c + d))


@merged
def _sum_of_squares(x, row, mean):
    """Four sums at once: one alone would wait for each addition."""
    columns = x.shape[1]
    whole = columns - columns % 64
    a, b, c, d = splat(f32(0)), splat(f32(0)), splat(f32(0)), splat(f32(0))
    for column in range(0, whole, 64):
        a = _add_square(load(x, row, column) - mean, a)
        b = _add_square(load(x, row, column + 16) - mean, b)
        c = _add_square(load(x, row, column + 32) - mean, c)
        d = _add_square(load(x, row, column + 48) - mean, d)
    for column in range(whole, columns, 16):
        inside = lane_numbers() < i32(columns - column)
        a = _add_square(select(inside, load_some(x, row, column, columns - column) - mean, splat(f32(0))), a)
    return total((a + b) + (c + d))


@merged
def _add_square(x, sums):
    return multiply_add(x, x, sums)


@merged
def _scale(x, weight, y, row, mean, scale):
    columns = x.shape[1]
    whole = columns - columns % 16
    for column in range(0, whole, 16):
        store(y, row, column, (load(x, row, column) - mean) * scale * load(weight, 0, column))
    rest = columns - whole
    if rest:
        value = (load_some(x, row, whole, rest) - mean) * scale * load_some(weight, 0, whole, rest)
        store_some(y, row, whole, value, rest)


@merged
def _scale_and_shift(x, weight, bias, y, row, mean, scale):
    columns = x.shape[1]
    whole = columns - columns % 16
    for column in range(0, whole, 16):
        value = (load(x, row, column) - mean) * scale
        store(y, row, column, multiply_add(value, load(weight, 0, column), load(bias, 0, column)))
    rest = columns - whole
    if rest:
        value = (load_some(x, row, whole, rest) - mean) * scale
        value = multiply_add(value, load_some(weight, 0, whole, rest), load_some(bias, 0, whole, rest))
        store_some(y, row, whole, value, rest)
