"""Loads and stores of vectors and numbers at addresses, which are int64: 64 bytes are one `ints`."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit import half
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.memory import fetch_line
from quantize_cli.jit.simd.vector import I16, I32, LANES, Vector, floats, ints, spread

_I8 = ir.IntType(8)
_LINE, _AHEAD = 64, 4096
"""Bytes of a cache line, and how far ahead of the blocks being multiplied they are fetched. What will be read next
processors guess up to the end of a page of 4 KiB. Tokens came 9 % faster at Q4_0, 8 % at Q4_K_M; 512 ahead, slower.
"""


def load_from(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type, align: int = 1) -> ir.Value:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = align
    return value


def spread_from(builder: ir.IRBuilder, address: ir.Value, kind: Vector, align: int = 4) -> ir.Value:
    """The number at an address in all lanes."""
    return spread(builder, load_from(builder, address, kind.lane, align), kind)


@intrinsic
def load_bytes(typing: Any, address: Any) -> Any:
    """64 bytes as ints."""
    return ints(types.int64), lambda context, builder, sig, args: load_from(builder, args[0], ints.llvm)


@merged
def fetch_ahead(address, nbytes):
    """Ask for the blocks that follow some way behind those of `nbytes` at an address."""
    for offset in range(0, nbytes, _LINE):
        fetch_line(address + _AHEAD + offset)


@intrinsic
def half_at(typing: Any, address: Any) -> Any:
    """The IEEE half at an address, as float32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return half.widen(builder, load_from(builder, args[0], I16))

    return types.float32(types.int64), codegen


@intrinsic
def halves_at(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """IEEE halves at four addresses as floats, each in four lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(I16, 4), ir.Undefined)
        for lane, address in enumerate(args):
            four = builder.insert_element(four, load_from(builder, address, I16), ir.Constant(I32, lane))
        order = ir.Constant(ir.VectorType(I32, LANES), [lane // 4 for lane in range(LANES)])
        return half.widen(builder, builder.shuffle_vector(four, four, order))

    return floats(*[types.int64] * 4), codegen


def halves_of_run(nbytes: int) -> Any:
    """A function that loads, of four blocks in a row of `nbytes` <= 20 each, the half each begins with: as `halves_at`.

    One load and one shuffle: it reads 64 bytes, which four blocks have.
    """

    @intrinsic
    def function(typing: Any, address: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            value = load_from(builder, args[0], ir.VectorType(I16, 32))
            order = ir.Constant(ints.llvm, [lane // 4 * nbytes // 2 for lane in range(LANES)])
            return half.widen(builder, builder.shuffle_vector(value, value, order))

        return floats(types.int64), codegen

    return function


@intrinsic
def int_at(typing: Any, address: Any) -> Any:
    """The 32 bits at an address, as int32."""
    return types.int32(types.int64), lambda context, builder, sig, args: load_from(builder, args[0], I32)


@intrinsic
def byte_at(typing: Any, address: Any) -> Any:
    """The unsigned byte at an address, as int32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.zext(load_from(builder, args[0], _I8), I32)

    return types.int32(types.int64), codegen


@intrinsic
def signed_bytes_at(typing: Any, address: Any) -> Any:
    """Sixteen signed bytes as ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.sext(load_from(builder, args[0], ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(types.int64), codegen


@intrinsic
def unsigned_bytes_at(typing: Any, address: Any) -> Any:
    """Sixteen unsigned bytes as ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.zext(load_from(builder, args[0], ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(types.int64), codegen


@intrinsic
def float_at(typing: Any, address: Any) -> Any:
    """The float32 at an address."""
    kind = ir.FloatType()
    return types.float32(types.int64), lambda context, builder, sig, args: load_from(builder, args[0], kind)


@intrinsic
def set_float(typing: Any, address: Any, value: Any) -> Any:
    """Put a float32 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[1], builder.inttoptr(args[0], ir.FloatType().as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def set_int(typing: Any, address: Any, value: Any) -> Any:
    """Put 32 bits at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[1], builder.inttoptr(args[0], I32.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.uint32), codegen


@intrinsic
def load_floats(typing: Any, address: Any) -> Any:
    """Sixteen float32."""
    return floats(types.int64), lambda context, builder, sig, args: load_from(builder, args[0], floats.llvm)


@intrinsic
def load_halves(typing: Any, address: Any) -> Any:
    """Sixteen IEEE halves as floats."""
    kind = ir.VectorType(I16, LANES)
    return floats(types.int64), lambda context, builder, sig, args: half.widen(
        builder, load_from(builder, args[0], kind)
    )


def _widen_bfloat16(builder: ir.IRBuilder, value: ir.Value, kind: ir.Type, result: ir.Type) -> ir.Value:
    """The upper half of a float32 is a bfloat16."""
    sixteen = ir.Constant(kind, [16] * LANES if isinstance(kind, ir.VectorType) else 16)
    return builder.bitcast(builder.shl(builder.zext(value, kind), sixteen), result)


@intrinsic
def load_bfloat16(typing: Any, address: Any) -> Any:
    """Sixteen bfloat16 as floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = load_from(builder, args[0], ir.VectorType(I16, LANES))
        return _widen_bfloat16(builder, value, ints.llvm, floats.llvm)

    return floats(types.int64), codegen


@intrinsic
def bfloat16_at(typing: Any, address: Any) -> Any:
    """The bfloat16 at an address, as float32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return _widen_bfloat16(builder, load_from(builder, args[0], I16), I32, ir.FloatType())

    return types.float32(types.int64), codegen


@intrinsic
def store_bytes(typing: Any, address: Any, value: Any) -> Any:
    """Ints or floats as 64 bytes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


def _joined(lanes: int) -> Any:
    """Pieces of `lanes` lanes each, loaded from as many addresses, as ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        parts = [load_from(builder, address, ir.VectorType(I32, lanes)) for address in args]
        while len(parts) > 1:
            count = 2 * parts[0].type.count
            order = ir.Constant(ir.VectorType(I32, count), list(range(count)))
            parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return codegen


@intrinsic
def join_halves(typing: Any, first: Any, second: Any) -> Any:
    """32 bytes from each of two addresses."""
    return ints(types.int64, types.int64), _joined(8)


@intrinsic
def join_quarters(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """16 bytes from each of four addresses."""
    return ints(*[types.int64] * 4), _joined(4)


def _parts(lanes: int) -> Any:
    """Pieces of `lanes` lanes each, stored to as many addresses."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        for index, address in enumerate(args[1:]):
            order = ir.Constant(ir.VectorType(I32, lanes), list(range(index * lanes, (index + 1) * lanes)))
            part = builder.shuffle_vector(args[0], args[0], order)
            builder.store(part, builder.inttoptr(address, part.type.as_pointer())).align = 1
        return context.get_dummy_value()

    return codegen


@intrinsic
def store_halves(typing: Any, value: Any, first: Any, second: Any) -> Any:
    """Ints as 32 bytes at each of two addresses."""
    return types.void(ints, types.int64, types.int64), _parts(8)


@intrinsic
def store_quarters(typing: Any, value: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Ints as 16 bytes at each of four addresses."""
    return types.void(ints, *[types.int64] * 4), _parts(4)
