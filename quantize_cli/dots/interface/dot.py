"""What a dot is: how activations are multiplied with one type's blocks without making floats of them."""

from dataclasses import dataclass

from quantize_cli.jit.operation import Operation


@dataclass(frozen=True)
class Dot:
    """The products of one GGML type; whose activations are rounded to eight bits."""

    rows: Operation
    """Products with few activations, straight from the blocks. Words: 1 weights u8 (rows, row bytes); 4 codes i8
    (n, columns), 7 scales f32 (n, columns / 32), 10 sums f32 (n, columns / 16), see _activations.py; 13 out f32
    (n, rows)."""
    opener: Operation
    """One row of blocks -> unsigned codes, scales and offsets: weight = scale * code + offset. Given the addresses of
    the row, the number of columns, and the addresses of codes (columns,) u8, scales and offsets (columns / group,)
    f32."""
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
    """Products with few activations; words: see _floats.multiply_rows."""
    opener: Operation
    """One row -> float32. Given the addresses of the row, the number of columns, the address of the values, and two
    that mean nothing."""
