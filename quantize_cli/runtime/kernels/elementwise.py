"""Operations that change each number of an array by itself, or with the number at the same place of another."""

import numpy as np

from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import f32_array, f32_number, operation, share
from quantize_cli.jit.simd import load, load_some, multiply_add, splat, store, store_some
from quantize_cli.runtime.kernels.exponential import exponential, tanh

f32 = np.float32
_GELU_LINEAR, _GELU_CUBIC = f32(-2 * np.sqrt(2 / np.pi)), f32(0.044715)


@operation
def add(words_, thread, threads):
    """y += x. Words: y (n, columns) f32, x the same."""
    _combine(_sum, f32_array(words_, 1), f32_array(words_, 4), f32(0), thread, threads)


@operation
def add_row(words_, thread, threads):
    """Each row of y += the row. Words: y (n, columns) f32, row (columns,) f32."""
    _combine(_sum, f32_array(words_, 1), f32_array(words_, 4), f32(0), thread, threads)


@operation
def multiply_by(words_, thread, threads):
    """y *= number. Words: y (n, columns) f32, number f32."""
    y = f32_array(words_, 1)
    _combine(_product, y, y, f32_number(words_, 4), thread, threads)


@operation
def soft_cap(words_, thread, threads):
    """y = cap * tanh(y / cap). Words: y (n, columns) f32, cap f32 > 0."""
    y = f32_array(words_, 1)
    _combine(capped, y, y, f32_number(words_, 4), thread, threads)


@operation
def gate_silu(words_, thread, threads):
    """up *= silu(gate). Words: up (n, columns) f32, gate the same."""
    _combine(_by_silu, f32_array(words_, 1), f32_array(words_, 4), f32(0), thread, threads)


@operation
def gate_gelu(words_, thread, threads):
    """up *= gelu(gate), the tanh form. Words: up (n, columns) f32, gate the same."""
    _combine(_by_gelu, f32_array(words_, 1), f32_array(words_, 4), f32(0), thread, threads)


@operation
def gelu(words_, thread, threads):
    """y = gelu(y), the tanh form. Words: y (n, columns) f32."""
    y = f32_array(words_, 1)
    _combine(_gelu_of, y, y, f32(0), thread, threads)


# --- sixteen numbers ---------------------------------------------------------------------------------------------


@merged
def _sum(y, x, number):
    return y + x


@merged
def _product(y, x, number):
    return y * number


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
