"""Products of weights as files store them, for many activations or few: one file per GGML type."""

from quantize_cli import plugins
from quantize_cli.dots.interface.dot import Dot, FloatDot
from quantize_cli.dots.kernels.activations import rows_small, rows_super, tiles_small, tiles_super
from quantize_cli.dots.kernels.bfloat16 import BFLOAT16_COLUMNS, multiply_bfloat16, tiles_bfloat16, unpack_bfloat16
from quantize_cli.dots.kernels.floats import float_scratch_nbytes, multiply_floats, tiles_float
from quantize_cli.dots.kernels.gemm import multiply_groups_of_16, multiply_groups_of_32, scratch_nbytes
from quantize_cli.dots.kernels.products import instructions
from quantize_cli.dots.kernels.tiles import TOKENS
from quantize_cli.formats.ggml import GgmlType

__all__ = [
    "BFLOAT16_COLUMNS", "TOKENS", "Dot", "FloatDot", "find", "float_scratch_nbytes", "instructions",
    "multiply_bfloat16", "multiply_floats", "multiply_groups_of_16", "multiply_groups_of_32", "rows_small",
    "rows_super", "scratch_nbytes",
    "tiles_bfloat16", "tiles_float", "tiles_small", "tiles_super", "unpack_bfloat16",
]  # fmt: skip


def find(type_: GgmlType) -> Dot | FloatDot | None:
    """The products of a type; None if it has none of its own, and is multiplied as float32."""
    name = type_.name.lower()
    if name not in plugins.names("dots"):
        return None
    dot: Dot | FloatDot = plugins.load("dots", name).DOT
    return dot
