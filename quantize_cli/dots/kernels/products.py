"""Integer products and table look-ups of bytes, by the instructions the processor has.

`dot4` adds to each lane four products of an unsigned with a signed byte. It is one instruction where the processor has
AVX-512 VNNI, a handful with AVX2, and plain LLVM elsewhere; all three give the same integers, since nothing saturates.
"""

from enum import Enum
from typing import Any

from llvmlite import binding, ir
from numba.core import config
from numba.extending import intrinsic

from quantize_cli.jit.simd.vector import I32, LANES, call, ints

_I8 = ir.IntType(8)
_BYTES = ir.VectorType(_I8, 64)


class Instructions(Enum):
    """What `dot4` is made of."""

    VNNI = "vnni"
    AVX2 = "avx2"
    PORTABLE = "portable"


_NAMED = {"haswell": Instructions.AVX2, "znver3": Instructions.AVX2, "skylake-avx512": Instructions.AVX2}
"""Processors that NUMBA_CPU_NAME may name; any other is taken to have neither."""


def instructions() -> Instructions:
    """The best the processor that numba compiles for is known to have."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return _NAMED.get(config.CPU_NAME, Instructions.PORTABLE)
    features = binding.get_host_cpu_features()
    if features.get("avx512vnni", False) and features.get("avx512bw", False):
        return Instructions.VNNI
    return Instructions.AVX2 if features.get("avx2", False) else Instructions.PORTABLE


def _dot4_vnni(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", ints.llvm, total, unsigned, signed)


def _dot4_avx2(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    """Even and odd bytes widened to 16 bits in place, and pairs of products added by pmaddwd, which cannot overflow."""
    half = ir.VectorType(I32, 8)
    short = ir.VectorType(ir.IntType(16), 16)
    sums = []
    for start in (0, 8):
        order = ir.Constant(half, list(range(start, start + 8)))
        u, s = (builder.bitcast(builder.shuffle_vector(v, v, order), short) for v in (unsigned, signed))
        eight = ir.Constant(short, [8] * 16)
        even = (builder.and_(u, ir.Constant(short, [255] * 16)), builder.ashr(builder.shl(s, eight), eight))
        odd = (builder.lshr(u, eight), builder.ashr(s, eight))
        pairs = [call(builder, "llvm.x86.avx2.pmadd.wd", half, *both) for both in (even, odd)]
        sums.append(builder.add(*pairs))
    whole = ir.Constant(ints.llvm, list(range(LANES)))
    return builder.add(total, builder.shuffle_vector(*sums, whole))


def _dot4_portable(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    def all_lanes(number: int) -> ir.Constant:
        return ir.Constant(ints.llvm, [number] * LANES)

    for shift in (0, 8, 16, 24):
        u = builder.and_(builder.lshr(unsigned, all_lanes(shift)), all_lanes(255))
        s = builder.ashr(builder.shl(signed, all_lanes(24 - shift)), all_lanes(24))
        total = builder.add(total, builder.mul(u, s))
    return total


DOT4 = {
    Instructions.VNNI: _dot4_vnni, Instructions.AVX2: _dot4_avx2, Instructions.PORTABLE: _dot4_portable,
}  # fmt: skip


def dot4_of(chosen: Instructions) -> Any:
    """`dot4` made of chosen instructions, for those who compare them."""

    @intrinsic
    def function(typing: Any, total: Any, unsigned: Any, signed: Any) -> Any:
        return ints(ints, ints, ints), lambda context, builder, sig, args: DOT4[chosen](builder, *args)

    return function


dot4 = dot4_of(instructions())
"""Lanes of `total` plus four products each: bytes of `unsigned` (0..255) with those of `signed` (-128..127)."""


def _lookup_avx2(builder: ir.IRBuilder, table: ir.Constant, index: ir.Value) -> ir.Value:
    kind = ir.VectorType(_I8, 32)
    parts = []
    for start in (0, 32):
        order = ir.Constant(ir.VectorType(I32, 32), list(range(start, start + 32)))
        halves = (builder.shuffle_vector(v, v, order) for v in (table, index))
        parts.append(call(builder, "llvm.x86.avx2.pshuf.b", kind, *halves))
    return builder.shuffle_vector(*parts, ir.Constant(ir.VectorType(I32, 64), list(range(64))))


def _lookup_portable(builder: ir.IRBuilder, table: ir.Constant, index: ir.Value) -> ir.Value:
    found = ir.Constant(_BYTES, [0] * 64)
    for position, entry in enumerate(table.constant[:16]):
        here = builder.icmp_unsigned("==", index, ir.Constant(_BYTES, [position] * 64))
        found = builder.select(here, ir.Constant(_BYTES, [entry.constant] * 64), found)
    return found


def byte_table(numbers: tuple[int, ...]) -> Any:
    """A function that replaces each byte of ints, 0..15, by the number of sixteen it points at."""

    @intrinsic
    def function(typing: Any, index: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            table = ir.Constant(_BYTES, [ir.Constant(_I8, number) for number in numbers] * 4)
            index = builder.bitcast(args[0], _BYTES)
            if instructions() is Instructions.VNNI:
                found = call(builder, "llvm.x86.avx512.pshuf.b.512", _BYTES, table, index)
            elif instructions() is Instructions.AVX2:
                found = _lookup_avx2(builder, table, index)
            else:
                found = _lookup_portable(builder, table, index)
            return builder.bitcast(found, ints.llvm)

        return ints(ints), codegen

    return function
