"""Products with F16: weights of 2 bytes, IEEE halves."""

from quantize_cli.dots.interface.dot import FloatDot
from quantize_cli.dots.kernels.floats import multiply_rows, open_row
from quantize_cli.dots.kernels.memory import half_at, load_halves
from quantize_cli.jit.operation import opener, operation

_NBYTES = 2


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, load_halves, half_at)


@opener
def _open(row, columns, values, _unused, _unused_too):
    open_row(row, columns, values, _NBYTES, load_halves, half_at)


DOT = FloatDot(_rows, _open)
