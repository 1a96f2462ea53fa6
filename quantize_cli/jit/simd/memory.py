"""Vectors to and from arrays: whole, in part, as halves; and asking for memory ahead."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit import half
from quantize_cli.jit.simd.vector import I16, I32, LANES, call, constant, floats, ints, spread


def _row_of(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, row: ir.Value) -> ir.Value:
    """Where array[row] begins; only the row stride is looked at."""
    struct = context.make_array(array_type)(context, builder, array)
    stride = builder.extract_value(struct.strides, 0)
    return builder.add(builder.ptrtoint(struct.data, stride.type), builder.mul(row, stride))


def address_of(context: Any, builder: ir.IRBuilder, array_type: Any, args: Any, lane: ir.Type) -> ir.Value:
    """Pointer to sixteen `lane`s at array[row, start]."""
    start = _row_of(context, builder, array_type, args[0], args[1])
    itemsize = ir.Constant(start.type, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    at = builder.add(start, builder.mul(args[2], itemsize))
    return builder.inttoptr(at, ir.VectorType(lane, LANES).as_pointer())


@intrinsic
def row_address(typing: Any, array: Any, row: Any) -> Any:
    """The address of a row of an array whose rows are contiguous."""
    return types.int64(array, types.int64), lambda context, builder, sig, args: _row_of(
        context, builder, sig.args[0], *args
    )


def _lane_of(dtype: types.Type) -> ir.Type:
    return ir.FloatType() if dtype == types.float32 else ir.IntType(dtype.bitwidth)


@intrinsic
def load(typing: Any, array: Any, row: Any, start: Any) -> Any:
    """array[row, start : start + 16] -> floats from float32, ints from any narrower integer."""
    kind, lane = (floats if array.dtype == types.float32 else ints), _lane_of(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(address_of(context, builder, sig.args[0], args, lane))
        value.align = 1
        if kind is floats or lane == I32:
            return value
        return (builder.sext if array.dtype.signed else builder.zext)(value, ints.llvm)

    return kind(array, types.intp, types.intp), codegen


@intrinsic
def store(typing: Any, array: Any, row: Any, start: Any, value: Any) -> Any:
    """array[row, start : start + 16] = value; ints keep the low bits a narrower element has room for."""
    lane = _lane_of(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        narrow = args[3] if lane == value.lane else builder.trunc(args[3], ir.VectorType(lane, LANES))
        builder.store(narrow, address_of(context, builder, sig.args[0], args, lane)).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value), codegen


@intrinsic
def fetch_line(typing: Any, address: Any) -> Any:
    """Ask for a cache line that will be needed; an address that is no memory of ours does no harm.

    It goes to the second cache: in the first, lines that lie a power of two apart push each other out.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        byte = ir.IntType(8).as_pointer()
        # For reading, into the second cache, of data.
        how = [ir.Constant(I32, number) for number in (0, 2, 1)]
        call(builder, "llvm.prefetch.p0i8", ir.VoidType(), builder.inttoptr(args[0], byte), *how)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def load_half(typing: Any, array: Any, row: Any, start: Any) -> Any:
    """Sixteen IEEE halves of a uint16 array -> floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(address_of(context, builder, sig.args[0], args, I16))
        value.align = 1
        return half.widen(builder, value)

    return floats(array, types.intp, types.intp), codegen


@intrinsic
def store_half(typing: Any, array: Any, row: Any, start: Any, value: Any) -> Any:
    """Floats -> sixteen IEEE halves of a uint16 array, rounded to nearest even."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        halves = half.narrow(builder, args[3])
        builder.store(halves, address_of(context, builder, sig.args[0], args, I16)).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value), codegen


@intrinsic
def to_half(typing: Any, number: Any) -> Any:
    """float32 -> the bits of the nearest IEEE half, as uint16."""
    return types.uint16(types.float32), lambda context, builder, sig, args: half.narrow(builder, args[0])


@intrinsic
def from_half(typing: Any, bits_: Any) -> Any:
    """The bits of an IEEE half (uint16) -> float32."""
    return types.float32(types.uint16), lambda context, builder, sig, args: half.widen(builder, args[0])


def _first_lanes(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    numbers = ir.Constant(ints.llvm, list(range(LANES)))
    return builder.icmp_signed("<", numbers, spread(builder, builder.trunc(count, I32), ints))


@intrinsic
def load_some(typing: Any, array: Any, row: Any, start: Any, count: Any) -> Any:
    """array[row, start : start + count] of float32 in the first lanes, zeros in the others, whose memory is let be."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        address = address_of(context, builder, sig.args[0], args, floats.lane)
        wanted = _first_lanes(builder, args[3])
        name = "llvm.masked.load.v16f32.p0v16f32"
        return call(builder, name, floats.llvm, address, ir.Constant(I32, 4), wanted, constant(floats, 0.0))

    return floats(array, types.intp, types.intp, types.intp), codegen


@intrinsic
def store_some(typing: Any, array: Any, row: Any, start: Any, value: Any, count: Any) -> Any:
    """array[row, start : start + count] = the first lanes of floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        address = address_of(context, builder, sig.args[0], args, floats.lane)
        wanted = _first_lanes(builder, args[4])
        name = "llvm.masked.store.v16f32.p0v16f32"
        call(builder, name, ir.VoidType(), args[3], address, ir.Constant(I32, 4), wanted)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, floats, types.intp), codegen


@intrinsic
def prefetch(typing: Any, array: Any, row: Any) -> Any:
    """Ask for array[row, :32] f32 to be in cache soon. A row past the last one does no harm."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        for start in (0, LANES):
            at = (args[0], args[1], args[1].type(start))
            address = address_of(context, builder, sig.args[0], at, ir.FloatType())
            pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
            read, keep, data = I32(0), I32(3), I32(1)
            call(builder, "llvm.prefetch.p0i8", ir.VoidType(), pointer, read, keep, data)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen
