"""Products with F32: weights of 4 bytes, float32."""

from quantize_cli.dots.interface.dot import FloatDot
from quantize_cli.dots.kernels.floats import multiply_rows, open_row
from quantize_cli.dots.kernels.memory import float_at, load_floats
from quantize_cli.jit.operation import opener, operation

_NBYTES = 4


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, load_floats, float_at)


@opener
def _open(row, columns, values, _unused, _unused_too):
    open_row(row, columns, values, _NBYTES, load_floats, float_at)


DOT = FloatDot(_rows, _open)
