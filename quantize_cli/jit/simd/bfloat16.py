"""Products of bfloat16, two at a time: a lane of 32 bits is a pair, and a sum of float32 grows by both its products.

    sum = (sum + a1 * b1) + a0 * b0, each rounded once, a1 being the pair's upper half

That is what the instruction of AVX-512 does (Intel's manual, VDPBF16PS), but for numbers too small to be normal, which
it takes for zero. Numbers less than `TINY` are not stored in pairs, and then no product or sum is that small: so those
who have no such instruction add float32 in this order, and get the same bits.
"""

import numpy as np
from llvmlite import binding, ir
from numba.core import config

from quantize_cli.jit.kernel import inlined
from quantize_cli.jit.simd.tile import Tile, tile_of
from quantize_cli.jit.simd.vector import call, floats, ints

TINY = 2.0**-56
"""Products of two such numbers are multiples of 2^-126, as bfloat16 has eight bits: so are all their sums."""
_TINY, _INFINITE = np.float32(TINY).view(np.uint32), np.float32(np.inf).view(np.uint32)
_NOT_A_NUMBER = np.uint32(0x7FC00000)
_NAME = "llvm.x86.avx512bf16.dpbf16ps.512"
_BY_TYPE = 16
"""LLVM's version from which its instruction takes bfloat16; before, it took integers."""


class _BFloat16(ir.Type):
    """bfloat16, for which llvmlite has no name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


_OPERAND = ir.VectorType(_BFloat16(), 2 * floats.lanes) if binding.llvm_version_info[0] >= _BY_TYPE else ints.llvm


def has_pairs() -> bool:
    """Whether the processor that numba compiles for is known to have the instruction; one that is named has not."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("avx512bf16", False))


def bfloat16_tile_of(rows: int, lines: int) -> Tile:
    """Tiles of sums of float32 by `rows` and `lines`, of factors and columns that are pairs, or single where no such
    instruction is: then float32, the upper half of a pair before the lower.
    """
    return tile_of(floats, rows, lines, ints, _grown) if has_pairs() else tile_of(floats, rows, lines)


@inlined
def bfloat16_bits(bits):
    """Bits of a float32 (u32) -> those of the nearest bfloat16, ties to even, in the upper half; zero for tiny ones."""
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.uint32(np.uint32(bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000))
    rounded = rounded if magnitude >= _TINY else np.uint32(0)
    return rounded if magnitude <= _INFINITE else _NOT_A_NUMBER


def _grown(builder: ir.IRBuilder, factor: ir.Value, values: ir.Value, total: ir.Value) -> ir.Value:
    operands = (builder.bitcast(pairs, _OPERAND) for pairs in (factor, values))
    return call(builder, _NAME, floats.llvm, total, *operands)
