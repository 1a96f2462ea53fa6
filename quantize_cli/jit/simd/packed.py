"""Vectors put together from parts, taken apart, and added up, four bytes to a lane."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd.addresses import load_from
from quantize_cli.jit.simd.vector import I32, LANES, call, ints

_I8 = ir.IntType(8)
_BYTES = ir.VectorType(_I8, 64)


@intrinsic
def quarters_of(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Four int32 as ints, each in four lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(I32, 4), ir.Undefined)
        for lane, number in enumerate(args):
            four = builder.insert_element(four, number, ir.Constant(I32, lane))
        order = ir.Constant(ir.VectorType(I32, LANES), [lane // 4 for lane in range(LANES)])
        return builder.shuffle_vector(four, four, order)

    return ints(*[types.int32] * 4), codegen


def constant(numbers: tuple[int, ...]) -> Any:
    """A function that gives sixteen ints."""

    @intrinsic
    def function(typing: Any) -> Any:
        return ints(), lambda context, builder, sig, args: ir.Constant(ints.llvm, list(numbers))

    return function


@intrinsic
def byte_where(typing: Any, bits: Any, byte: Any) -> Any:
    """64 bytes as ints: `byte` where a bit of the int64 is set, else zero."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        chosen = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), 64))
        value = builder.trunc(args[1], _I8)
        undefined = ir.Constant(_BYTES, ir.Undefined)
        first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
        everywhere = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, 64), [0] * 64))
        return builder.bitcast(builder.select(chosen, everywhere, ir.Constant(_BYTES, [0] * 64)), ints.llvm)

    return ints(types.int64, types.int32), codegen


@intrinsic
def six_bit_bytes_at(typing: Any, address: Any) -> Any:
    """Twelve bytes of packed scales and minima (get_scale_min_k4) and four more -> eight scales and eight minima."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.VectorType(I32, 4)
        value = load_from(builder, args[0], four)

        def pick(order: list[int], shift: list[int], mask: list[int]) -> ir.Value:
            picked = builder.shuffle_vector(value, value, ir.Constant(four, order))
            return builder.and_(builder.lshr(picked, ir.Constant(four, shift)), ir.Constant(four, mask))

        low = pick([0, 2, 1, 2], [0, 0, 0, 4], [0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F])
        # The two high bits of the last four scales and minima stand above the first four, and go to bits 4 and 5.
        high = pick([0, 0, 1, 1], [2, 2, 2, 2], [0, 0x30303030, 0, 0x30303030])
        return builder.zext(builder.bitcast(builder.or_(low, high), ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(types.int64), codegen


@intrinsic
def bytes_of(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """The sixteen bytes of four int32 as ints, unsigned."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(I32, 4), ir.Undefined)
        for lane, number in enumerate(args):
            four = builder.insert_element(four, number, ir.Constant(I32, lane))
        return builder.zext(builder.bitcast(four, ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(*[types.int32] * 4), codegen


@intrinsic
def lane_of(typing: Any, value: Any, lane: Any) -> Any:
    """One lane of floats or ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.extract_element(args[0], args[1])

    return value.element(value, types.int64), codegen


@intrinsic
def four_bytes(typing: Any, value: Any, quarter: Any) -> Any:
    """The low bytes of lanes 4 * `quarter` .. 4 * `quarter` + 3 of ints, as one int32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        narrow = builder.trunc(args[0], ir.VectorType(_I8, LANES))
        return builder.extract_element(builder.bitcast(narrow, ir.VectorType(I32, 4)), args[1])

    return types.int32(ints, types.int64), codegen


def shuffled(order: tuple[int, ...]) -> Any:
    """A function that gives the lanes `order` of a vector."""

    @intrinsic
    def function(typing: Any, value: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(I32, LANES), list(order))
        return value(value), lambda context, builder, sig, args: builder.shuffle_vector(args[0], args[0], lanes)

    return function


@intrinsic
def sum_of(typing: Any, value: Any) -> Any:
    """The sum of sixteen ints, as int32."""
    name = "llvm.vector.reduce.add.v16i32"
    return types.int32(ints), lambda context, builder, sig, args: call(builder, name, I32, args[0])
