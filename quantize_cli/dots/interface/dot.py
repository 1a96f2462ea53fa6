"""What a dot is: how activations are multiplied with one type's blocks without making floats of them."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantize_cli.jit.arguments import Arguments, f32_array, i8_array, u8_array
from quantize_cli.jit.operation import Callback, Operation

ROWS = Arguments(weights=u8_array, codes=i8_array, scales=f32_array, sums=f32_array, out=f32_array)
"""weights (rows, row bytes); activations in rows, see kernels/activations.py; out (n, rows)."""
FLOAT_ROWS = Arguments(weights=u8_array, x=f32_array, out=f32_array)
"""weights (rows, row bytes); x (n, columns); out (n, rows)."""


@dataclass(frozen=True)
class Dot:
    """The products of one GGML type; whose activations are rounded to eight bits."""

    rows: Operation
    """Products with few activations, straight from the blocks; takes `ROWS`."""
    unpack: Callback
    """One row of blocks -> unsigned codes, scales and offsets: weight = scale * code + offset. Takes the address of the
    row, the number of columns, and the addresses of codes (columns,) u8, scales and offsets (columns / group,) f32."""
    group: int
    """Columns that share a scale and an offset: 16 or 32."""
    super_block: bool
    """Whether activations are rounded in blocks of 256, as they are for weights in such blocks, or of 32."""
    halved_sums: bool = False
    """Whether sums of activations are rounded to halves, as they are for Q4_1 and Q5_1 (Q8_1)."""


@dataclass(frozen=True)
class FloatDot:
    """The products of one GGML type whose weights are floats, and activations too."""

    rows: Operation
    """Products with few activations; takes `FLOAT_ROWS`."""
    unpack: Callback
    """One row -> float32. Takes the address of the row, the number of columns, the address of the values, and two that
    mean nothing."""
    is_bfloat16: bool = False
    """Whether weights are bfloat16, which can be multiplied with activations that are rounded to it too."""


def offsets(block: np.dtype) -> Any:
    """Where the fields of a block begin, in bytes, as a tuple with their names."""
    assert block.fields is not None
    named: Any = namedtuple("Offsets", block.fields)  # type: ignore[misc]
    return named(*(field[1] for field in block.fields.values()))
