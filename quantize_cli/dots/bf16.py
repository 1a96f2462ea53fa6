"""Products with BF16: weights of 2 bytes, bfloat16."""

from quantize_cli.dots.interface.dot import FloatDot
from quantize_cli.dots.kernels.floats import multiply_rows, open_row
from quantize_cli.dots.kernels.memory import brain_at, load_brains
from quantize_cli.jit.operation import opener, operation

_NBYTES = 2


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, load_brains, brain_at)


@opener
def _open(row, columns, values, _unused, _unused_too):
    open_row(row, columns, values, _NBYTES, load_brains, brain_at)


DOT = FloatDot(_rows, _open)
