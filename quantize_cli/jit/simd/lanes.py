"""Functions of lanes: choices, roundings, bits, and what sixteen lanes come to together."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd.fused import emit_fused
from quantize_cli.jit.simd.vector import I16, I32, LANES, Vector, call, constant, floats, ints, kinds_of, mask, spread


@intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """A float32 or an integer in all sixteen lanes."""
    kind = ints if isinstance(scalar, types.Integer) else floats
    return kind(kind.element), lambda context, builder, sig, args: spread(builder, args[0], kind)


@intrinsic
def select(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """Lanes of `a` where the condition holds, of `b` elsewhere."""
    return a(condition, a, a), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def lookup(typing: Any, table: Any, index: Any) -> Any:
    """In each lane the lane of `table` its index names; an index past 15 is not defined."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        found = ir.Constant(sig.return_type.llvm, ir.Undefined)
        for lane in range(LANES):  # LLVM makes one permutation of this where the machine has it
            at = builder.extract_element(args[1], ir.Constant(I32, lane))
            found = builder.insert_element(found, builder.extract_element(args[0], at), ir.Constant(I32, lane))
        return found

    return table(table, ints), codegen


def _choose(comparison: str) -> Any:
    @intrinsic
    def chosen(typing: Any, a: Any, b: Any) -> Any:
        kind = a if isinstance(a, Vector) else b

        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            x, y = (v if t is kind else spread(builder, v, kind) for v, t in zip(args, sig.args, strict=True))
            compare = builder.icmp_signed if kind.element is types.int32 else builder.fcmp_ordered
            return builder.select(compare(comparison, x, y), x, y)

        return kind(*(t if t is kind else kind.element for t in (a, b))), codegen

    return chosen


minimum = _choose("<")
"""`a < b ? a : b` per lane, so a NaN on either side gives `b`."""
maximum = _choose(">")
"""`a > b ? a : b` per lane."""


def _unary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, a: Any) -> Any:
        kind = kinds_of(a)[0]
        return kind(kind), lambda context, builder, sig, args: call(
            builder, f"llvm.{name}.v{kind.lanes}f32", kind.llvm, args[0]
        )

    return function


absolute, square_root = _unary("fabs"), _unary("sqrt")
round_half_even = _unary("rint")
round_half_away = _unary("round")
"""C's roundf: halves go away from zero."""


@intrinsic
def to_float(typing: Any, value: Any) -> Any:
    """Signed integers -> the nearest floats."""
    number = kinds_of(value)[0]
    return number(value), lambda context, builder, sig, args: builder.sitofp(args[0], number.llvm)


@intrinsic
def to_int(typing: Any, value: Any) -> Any:
    """Truncation toward zero; what does not fit, NaN included, becomes -2**31, as x86's cvttps2dq has it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        magnitude = call(builder, "llvm.fabs.v16f32", floats.llvm, args[0])
        fits = builder.fcmp_ordered("<", magnitude, constant(floats, 2.0**31))
        safe = builder.select(fits, args[0], constant(floats, 0.0))
        return builder.select(fits, builder.fptosi(safe, ints.llvm), constant(ints, -(2**31)))

    return ints(floats), codegen


@intrinsic
def fitting_int(typing: Any, value: Any) -> Any:
    """Truncation toward zero of floats known to fit; anything else is not defined."""
    return ints(floats), lambda context, builder, sig, args: builder.fptosi(args[0], ints.llvm)


@intrinsic
def fitting_int_away(typing: Any, value: Any) -> Any:
    """C's roundf of floats known to be below 2**22 in magnitude, as ints.

    The largest float below a half is added: a half itself would carry 0.49999997 over.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        sign = builder.and_(builder.bitcast(args[0], ints.llvm), constant(ints, -(2**31)))
        below_half = builder.bitcast(constant(floats, 0.49999997019767761), ints.llvm)
        half = builder.bitcast(builder.or_(sign, below_half), floats.llvm)
        return builder.fptosi(builder.fadd(args[0], half), ints.llvm)

    return ints(floats), codegen


@intrinsic
def bits(typing: Any, value: Any) -> Any:
    """The IEEE bits of each lane, as ints."""
    integer = kinds_of(value)[1]
    return integer(value), lambda context, builder, sig, args: builder.bitcast(args[0], integer.llvm)


@intrinsic
def from_bits(typing: Any, value: Any) -> Any:
    """Ints taken as the IEEE bits of floats."""
    number = kinds_of(value)[0]
    return number(value), lambda context, builder, sig, args: builder.bitcast(args[0], number.llvm)


@intrinsic
def shift_right(typing: Any, value: Any, count: Any) -> Any:
    """Ints shifted right by a scalar count, zeros coming in."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.lshr(args[0], spread(builder, args[1], ints))

    return ints(ints, types.int32), codegen


@intrinsic
def any_lane(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in any lane."""

    all_bits = ir.IntType(condition.lanes)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], all_bits), ir.Constant(all_bits, 0))

    return types.boolean(condition), codegen


@intrinsic
def lane_bits(typing: Any, condition: Any) -> Any:
    """A mask as uint16: bit i says whether it holds in lane i."""
    return types.uint16(mask), lambda context, builder, sig, args: builder.bitcast(args[0], I16)


@intrinsic
def lanes_where(typing: Any, bits_: Any) -> Any:
    """The mask whose lane i is bit i of a uint16."""
    return mask(types.uint16), lambda context, builder, sig, args: builder.bitcast(args[0], mask.llvm)


@intrinsic
def all_lanes(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in every lane."""

    all_bits = ir.IntType(condition.lanes)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.icmp_unsigned("==", builder.bitcast(args[0], all_bits), ir.Constant(all_bits, -1))

    return types.boolean(condition), codegen


@intrinsic
def largest(typing: Any, value: Any) -> Any:
    """The largest of sixteen ints, as int32. On the bits of non-negative floats it finds the largest float."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return call(builder, "llvm.vector.reduce.smax.v16i32", I32, args[0])

    return types.int32(ints), codegen


def _reduce(name: str) -> Any:
    @intrinsic
    def function(typing: Any, value: Any) -> Any:
        return types.float32(floats), lambda context, builder, sig, args: call(
            builder, f"llvm.vector.reduce.{name}.v16f32", ir.FloatType(), args[0]
        )

    return function


highest, lowest = _reduce("fmax"), _reduce("fmin")
"""The largest and smallest of sixteen floats, as float32. Which of two zeros is found is not defined."""


@intrinsic
def float_from_bits(typing: Any, value: Any) -> Any:
    """An int32 taken as the IEEE bits of a float32."""
    return types.float32(types.int32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def nearest(typing: Any, value: Any) -> Any:
    """ggml's nearest_int, bit for bit: round to nearest even by adding 1.5 * 2**23 and keeping the low 23 bits.

    Past +-4194303 the low bits are what they are; infinities give -4194304 and NaN gives 0. The reference computes
    the same in those cases, and files depend on it.
    """

    number, integer, _ = kinds_of(value)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        shifted = builder.fadd(args[0], constant(number, 12582912.0))
        low = builder.and_(builder.bitcast(shifted, integer.llvm), constant(integer, 0x007FFFFF))
        return builder.sub(low, constant(integer, 0x00400000))

    return integer(number), codegen


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        values = [v if t is floats else spread(builder, v, floats) for v, t in zip(args, sig.args, strict=True)]
        return emit_fused(builder, *values)

    return floats(*(t if t is floats else types.float32 for t in (a, b, c))), codegen


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """The sum of sixteen floats as float32, halves of the vector added to each other until one lane is left."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = args[0]
        for count in (8, 4, 2, 1):
            low, high = (ir.Constant(ir.VectorType(I32, count), list(range(s, s + count))) for s in (0, count))
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, ir.Constant(I32, 0))

    return types.float32(floats), codegen


@intrinsic
def lane_numbers(typing: Any) -> Any:
    """0, 1, ... 15."""
    return ints(), lambda context, builder, sig, args: ir.Constant(ints.llvm, list(range(LANES)))


def picked(order: tuple[int, ...]) -> Any:
    """A function of two float vectors that gives sixteen of their lanes; those of the second count from 16 on."""

    @intrinsic
    def function(typing: Any, a: Any, b: Any) -> Any:
        lanes = ir.Constant(ints.llvm, list(order))
        return floats(floats, floats), lambda context, builder, sig, args: builder.shuffle_vector(*args, lanes)

    return function
