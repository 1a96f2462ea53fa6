"""Operations that change each number of an array by itself, or with the number at the same place of another."""

import numpy as np

from quantize_cli.jit.arguments import Arguments, f32_array, f32_number
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import operation, share
from quantize_cli.jit.simd import (
    absolute,
    load,
    load_some,
    maximum,
    minimum,
    multiply_add,
    select,
    splat,
    store,
    store_some,
)
from quantize_cli.runtime.kernels.exponential import exponential, tanh

f32 = np.float32
_ROOT_HALF, _ERFC_STEP = f32(np.sqrt(0.5)), f32(0.3275911)
_ERFC = tuple(map(f32, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)))
_GELU_LINEAR, _GELU_CUBIC = f32(-2 * np.sqrt(2 / np.pi)), f32(0.044715)


@operation(Arguments(y=f32_array, x=f32_array))
def add(args, thread, threads):
    """y += x, of the same shape."""
    _combine(_sum, args.y, args.x, f32(0), thread, threads)


@operation(Arguments(y=f32_array, row=f32_array))
def add_row(args, thread, threads):
    """Each row of y (n, columns) += the row (columns,)."""
    _combine(_sum, args.y, args.row, f32(0), thread, threads)


@operation(Arguments(y=f32_array, cap=f32_number))
def soft_cap(args, thread, threads):
    """y = cap * tanh(y / cap), cap > 0."""
    _combine(capped, args.y, args.y, args.cap, thread, threads)


@operation(Arguments(y=f32_array, factor=f32_number))
def scale(args, thread, threads):
    """y *= factor."""
    _combine(_times, args.y, args.y, args.factor, thread, threads)


@operation(Arguments(y=f32_array, bound=f32_number))
def clamp(args, thread, threads):
    """y kept between -bound and bound, > 0."""
    _combine(_clamped, args.y, args.y, args.bound, thread, threads)


@operation(Arguments(up=f32_array, gate=f32_array))
def gate_silu(args, thread, threads):
    """up *= silu(gate), of the same shape."""
    _combine(_by_silu, args.up, args.gate, f32(0), thread, threads)


@operation(Arguments(up=f32_array, gate=f32_array))
def gate_gelu(args, thread, threads):
    """up *= gelu(gate), the tanh form, of the same shape."""
    _combine(_by_gelu, args.up, args.gate, f32(0), thread, threads)


@operation(Arguments(up=f32_array, gate=f32_array))
def gate_exact_gelu(args, thread, threads):
    """up *= gelu(gate), by the error function, of the same shape."""
    _combine(_by_exact_gelu, args.up, args.gate, f32(0), thread, threads)


@operation(Arguments(y=f32_array))
def gelu(args, thread, threads):
    """y = gelu(y), the tanh form."""
    _combine(_gelu_of, args.y, args.y, f32(0), thread, threads)


@operation(Arguments(y=f32_array))
def exact_gelu(args, thread, threads):
    """y = gelu(y), by the error function."""
    _combine(_exact_gelu_of, args.y, args.y, f32(0), thread, threads)


# --- sixteen numbers ---------------------------------------------------------------------------------------------


@merged
def _sum(y, x, number):
    return y + x


@merged
def _times(y, x, number):
    return y * number


@merged
def _clamped(y, x, number):
    return minimum(maximum(y, splat(f32(0) - number)), splat(number))


@merged
def capped(y, x, cap):
    """cap * tanh(y / cap); x is not looked at."""
    return tanh(y / cap) * cap


@merged
def _by_silu(up, gate, number):
    return up * gate / (exponential(f32(0) - gate) + f32(1))


@merged
def _by_gelu(up, gate, number):
    # 0.5 (1 + tanh u) is 1 / (1 + e**-2u), and the latter does not cancel for negative u.
    exponent = multiply_add(gate * gate, _GELU_CUBIC, f32(1)) * (gate * _GELU_LINEAR)
    return up * gate / (exponential(exponent) + f32(1))


@merged
def _gelu_of(y, x, number):
    return _by_gelu(splat(f32(1)), y, number)


@merged
def _by_exact_gelu(up, gate, number):
    return up * _exact_gelu_of(gate, gate, number)


@merged
def _exact_gelu_of(y, x, number):
    """By half of erfc(|y| / sqrt 2), which does not cancel: Abramowitz and Stegun, 7.1.26, off by 1.5e-7 at most."""
    size = absolute(y) * _ROOT_HALF
    t = f32(1) / multiply_add(size, _ERFC_STEP, f32(1))
    series = multiply_add(t, _ERFC[4], _ERFC[3])
    series = multiply_add(t, series, _ERFC[2])
    series = multiply_add(t, series, _ERFC[1])
    series = multiply_add(t, series, _ERFC[0])
    tail = series * t * exponential(f32(0) - size * size) * f32(0.5)
    return y * select(y > f32(0), f32(1) - tail, tail)


# --- all of them -------------------------------------------------------------------------------------------------


@merged
def _combine(function, y, x, number, thread, threads):
    """y = function(y, x, number) for this thread's part: of the columns if there is one row, else of the rows."""
    rows, columns = y.shape
    if rows == 1:
        first, last = share((columns + 15) // 16, thread, threads)
        _combine_row(function, y, x, number, 0, 16 * first, min(16 * last, columns))
    else:
        first, last = share(rows, thread, threads)
        for row in range(first, last):
            _combine_row(function, y, x, number, row, 0, columns)


@merged
def _combine_row(function, y, x, number, row, start, stop):
    other = min(row, x.shape[0] - 1)
    whole = stop - (stop - start) % 16
    for column in range(start, whole, 16):
        store(y, row, column, function(load(y, row, column), load(x, other, column), number))
    rest = stop - whole
    if rest:
        result = function(load_some(y, row, whole, rest), load_some(x, other, whole, rest), number)
        store_some(y, row, whole, result, rest)
