"""Vectors over bytes, for products of eight-bit codes: 64 bytes are one `ints` of simd.py, four to a lane.

`dot4` adds to each lane four products of an unsigned with a signed byte. It is one instruction where the processor has
AVX-512 VNNI, a handful with AVX2, and plain LLVM elsewhere; all three give the same integers, since nothing saturates.
Addresses are int64.
"""

from enum import Enum
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from quantize_cli import half
from quantize_cli.simd import LANES, floats, ints

_I8, _I32 = ir.IntType(8), ir.IntType(32)
_BYTES = ir.VectorType(_I8, 64)
TOKENS = 8
"""Rows of activations a tile holds: with sixteen rows of weights, the sums of a tile fit the registers."""


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


# --- memory ------------------------------------------------------------------------------------------------------


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


@intrinsic
def load_bytes(typing: Any, address: Any) -> Any:
    """64 bytes as ints."""
    return ints(types.int64), lambda context, builder, sig, args: _load(builder, args[0], ints.llvm)


@intrinsic
def half_at(typing: Any, address: Any) -> Any:
    """The IEEE half at an address, as float32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return half.widen(builder, _load(builder, args[0], ir.IntType(16)))

    return types.float32(types.int64), codegen


@intrinsic
def halves_at(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """IEEE halves at four addresses as floats, each in four lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(ir.IntType(16), 4), ir.Undefined)
        for lane, address in enumerate(args):
            four = builder.insert_element(four, _load(builder, address, ir.IntType(16)), ir.Constant(_I32, lane))
        order = ir.Constant(ir.VectorType(_I32, LANES), [lane // 4 for lane in range(LANES)])
        return half.widen(builder, builder.shuffle_vector(four, four, order))

    return floats(*[types.int64] * 4), codegen


@intrinsic
def int_at(typing: Any, address: Any) -> Any:
    """The 32 bits at an address, as int32."""
    return types.int32(types.int64), lambda context, builder, sig, args: _load(builder, args[0], _I32)


@intrinsic
def signed_bytes_at(typing: Any, address: Any) -> Any:
    """Sixteen signed bytes as ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.sext(_load(builder, args[0], ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(types.int64), codegen


@intrinsic
def unsigned_bytes_at(typing: Any, address: Any) -> Any:
    """Sixteen unsigned bytes as ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.zext(_load(builder, args[0], ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(types.int64), codegen


@intrinsic
def byte_at(typing: Any, address: Any) -> Any:
    """The unsigned byte at an address, as int32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.zext(_load(builder, args[0], _I8), _I32)

    return types.int32(types.int64), codegen


@intrinsic
def quarters_of(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Four int32 as ints, each in four lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(_I32, 4), ir.Undefined)
        for lane, number in enumerate(args):
            four = builder.insert_element(four, number, ir.Constant(_I32, lane))
        order = ir.Constant(ir.VectorType(_I32, LANES), [lane // 4 for lane in range(LANES)])
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
        first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        everywhere = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, 64), [0] * 64))
        return builder.bitcast(builder.select(chosen, everywhere, ir.Constant(_BYTES, [0] * 64)), ints.llvm)

    return ints(types.int64, types.int32), codegen


def _lookup_avx2(builder: ir.IRBuilder, table: ir.Constant, index: ir.Value) -> ir.Value:
    kind = ir.VectorType(_I8, 32)
    parts = []
    for start in (0, 32):
        order = ir.Constant(ir.VectorType(_I32, 32), list(range(start, start + 32)))
        halves = (builder.shuffle_vector(v, v, order) for v in (table, index))
        parts.append(_call(builder, "llvm.x86.avx2.pshuf.b", kind, *halves))
    return builder.shuffle_vector(*parts, ir.Constant(ir.VectorType(_I32, 64), list(range(64))))


def _lookup_portable(builder: ir.IRBuilder, table: ir.Constant, index: ir.Value) -> ir.Value:
    found = ir.Constant(_BYTES, [0] * 64)
    for position, entry in enumerate(table.constant[:16]):
        here = builder.icmp_unsigned("==", index, ir.Constant(_BYTES, [position] * 64))
        found = builder.select(here, ir.Constant(_BYTES, [entry.constant] * 64), found)
    return found


def byte_table(numbers: tuple[int, ...]) -> Any:
    """A function that replaces each byte of ints, 0..15, by the number of sixteen it points at."""
    table = ir.Constant(_BYTES, [ir.Constant(_I8, number) for number in numbers] * 4)

    @intrinsic
    def function(typing: Any, index: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            index = builder.bitcast(args[0], _BYTES)
            if instructions() is Instructions.VNNI:
                found = _call(builder, "llvm.x86.avx512.pshuf.b.512", _BYTES, table, index)
            elif instructions() is Instructions.AVX2:
                found = _lookup_avx2(builder, table, index)
            else:
                found = _lookup_portable(builder, table, index)
            return builder.bitcast(found, ints.llvm)

        return ints(ints), codegen

    return function


@intrinsic
def bytes_of(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """The sixteen bytes of four int32 as ints, unsigned."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        four = ir.Constant(ir.VectorType(_I32, 4), ir.Undefined)
        for lane, number in enumerate(args):
            four = builder.insert_element(four, number, ir.Constant(_I32, lane))
        return builder.zext(builder.bitcast(four, ir.VectorType(_I8, LANES)), ints.llvm)

    return ints(*[types.int32] * 4), codegen


@intrinsic
def lane_of(typing: Any, value: Any, lane: Any) -> Any:
    """One lane of floats or ints."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.extract_element(args[0], args[1])

    return value.element(value, types.int64), codegen


@intrinsic
def float_at(typing: Any, address: Any) -> Any:
    """The float32 at an address."""
    kind = ir.FloatType()
    return types.float32(types.int64), lambda context, builder, sig, args: _load(builder, args[0], kind)


@intrinsic
def set_float(typing: Any, address: Any, value: Any) -> Any:
    """Put a float32 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[1], builder.inttoptr(args[0], ir.FloatType().as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def load_floats(typing: Any, address: Any) -> Any:
    """Sixteen float32."""
    return floats(types.int64), lambda context, builder, sig, args: _load(builder, args[0], floats.llvm)


@intrinsic
def load_halves(typing: Any, address: Any) -> Any:
    """Sixteen IEEE halves as floats."""
    kind = ir.VectorType(ir.IntType(16), LANES)
    return floats(types.int64), lambda context, builder, sig, args: half.widen(builder, _load(builder, args[0], kind))


def _widen_brain(builder: ir.IRBuilder, value: ir.Value, kind: ir.Type, result: ir.Type) -> ir.Value:
    """The upper half of a float32 is a bfloat16."""
    sixteen = ir.Constant(kind, [16] * LANES if isinstance(kind, ir.VectorType) else 16)
    return builder.bitcast(builder.shl(builder.zext(value, kind), sixteen), result)


@intrinsic
def load_brains(typing: Any, address: Any) -> Any:
    """Sixteen bfloat16 as floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = _load(builder, args[0], ir.VectorType(ir.IntType(16), LANES))
        return _widen_brain(builder, value, ints.llvm, floats.llvm)

    return floats(types.int64), codegen


@intrinsic
def brain_at(typing: Any, address: Any) -> Any:
    """The bfloat16 at an address, as float32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return _widen_brain(builder, _load(builder, args[0], ir.IntType(16)), _I32, ir.FloatType())

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
        parts = [_load(builder, address, ir.VectorType(_I32, lanes)) for address in args]
        while len(parts) > 1:
            count = 2 * parts[0].type.count
            order = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
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
            order = ir.Constant(ir.VectorType(_I32, lanes), list(range(index * lanes, (index + 1) * lanes)))
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


# --- products ----------------------------------------------------------------------------------------------------


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [a.type for a in args])
    found = builder.module.globals.get(name)
    return builder.call(found if found is not None else ir.Function(builder.module, kind, name), args)


def _dot4_vnni(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", ints.llvm, total, unsigned, signed)


def _dot4_avx2(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    """Even and odd bytes widened to 16 bits in place, and pairs of products added by pmaddwd, which cannot overflow."""
    half = ir.VectorType(_I32, 8)
    short = ir.VectorType(ir.IntType(16), 16)
    sums = []
    for start in (0, 8):
        order = ir.Constant(half, list(range(start, start + 8)))
        u, s = (builder.bitcast(builder.shuffle_vector(v, v, order), short) for v in (unsigned, signed))
        eight = ir.Constant(short, [8] * 16)
        even = (builder.and_(u, ir.Constant(short, [255] * 16)), builder.ashr(builder.shl(s, eight), eight))
        odd = (builder.lshr(u, eight), builder.ashr(s, eight))
        pairs = [_call(builder, "llvm.x86.avx2.pmadd.wd", half, *both) for both in (even, odd)]
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


_DOT4 = {
    Instructions.VNNI: _dot4_vnni, Instructions.AVX2: _dot4_avx2, Instructions.PORTABLE: _dot4_portable,
}  # fmt: skip


def dot4_of(chosen: Instructions) -> Any:
    """`dot4` made of chosen instructions, for those who compare them."""

    @intrinsic
    def function(typing: Any, total: Any, unsigned: Any, signed: Any) -> Any:
        return ints(ints, ints, ints), lambda context, builder, sig, args: _DOT4[chosen](builder, *args)

    return function


dot4 = dot4_of(instructions())
"""Lanes of `total` plus four products each: bytes of `unsigned` (0..255) with those of `signed` (-128..127)."""


@intrinsic
def fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c per lane, rounded once where the processor can, twice elsewhere: for sums that decide no byte."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return _call(builder, "llvm.fmuladd.v16f32", floats.llvm, *args)

    return floats(floats, floats, floats), codegen


@intrinsic
def total_of(typing: Any, value: Any) -> Any:
    """The sum of sixteen floats, pairs first, as float32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value, count = args[0], LANES
        while count > 1:
            count //= 2
            low, high = (ir.Constant(ir.VectorType(_I32, count), list(range(s, s + count))) for s in (0, count))
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return types.float32(floats), codegen


@intrinsic
def sum_of(typing: Any, value: Any) -> Any:
    """The sum of sixteen ints, as int32."""
    name = "llvm.vector.reduce.add.v16i32"
    return types.int32(ints), lambda context, builder, sig, args: _call(builder, name, _I32, args[0])


@intrinsic
def four_bytes(typing: Any, value: Any, quarter: Any) -> Any:
    """The low bytes of lanes 4 * `quarter` .. 4 * `quarter` + 3 of ints, as one int32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        narrow = builder.trunc(args[0], ir.VectorType(_I8, LANES))
        return builder.extract_element(builder.bitcast(narrow, ir.VectorType(_I32, 4)), args[1])

    return types.int32(ints, types.int64), codegen


def shuffled(order: tuple[int, ...]) -> Any:
    """A function that gives the lanes `order` of a vector."""

    @intrinsic
    def function(typing: Any, value: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(_I32, LANES), list(order))
        return value(value), lambda context, builder, sig, args: builder.shuffle_vector(args[0], args[0], lanes)

    return function


# --- tiles: sixteen rows of weights, TOKENS rows of activations --------------------------------------------------

tile = types.UniTuple(floats, TOKENS)
"""The sums of a tile: per row of activations, sixteen rows of weights in the lanes."""


@intrinsic
def empty_tile(typing: Any) -> Any:
    """A tile of zeros."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return ir.Constant(context.get_value_type(tile), [ir.Constant(floats.llvm, [0.0] * LANES)] * TOKENS)

    return tile(), codegen


def _spread_from(builder: ir.IRBuilder, address: ir.Value, offset: int, lane: ir.Type) -> ir.Value:
    """The number `offset` bytes behind an address in all lanes."""
    place = builder.add(address, ir.Constant(address.type, offset))
    number = builder.load(builder.inttoptr(place, lane.as_pointer()))
    number.align = 4
    kind = ir.VectorType(lane, LANES)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def add_group(steps: int) -> Any:
    """A function that adds to a tile the products of one group of 4 * `steps` columns.

    Its arguments: the tile; addresses of weight codes (steps, 16, 4) u8 and activation codes (steps, TOKENS, 4) i8;
    the sixteen scales and offsets of the weights; addresses of the activations' scales and of their sums times these
    scales, (TOKENS,) f32 each.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        sums, codes, activations, scale, offset, activation_scales, activation_sums = args
        totals = [ir.Constant(ints.llvm, [0] * LANES)] * TOKENS
        for step in range(steps):
            place = builder.add(codes, ir.Constant(codes.type, 64 * step))
            weights = _load(builder, place, ints.llvm)
            for token in range(TOKENS):
                four = _spread_from(builder, activations, 4 * (step * TOKENS + token), _I32)
                totals[token] = _DOT4[instructions()](builder, totals[token], weights, four)
        for token in range(TOKENS):
            product = builder.sitofp(totals[token], floats.llvm)
            product = builder.fmul(product, _spread_from(builder, activation_scales, 4 * token, ir.FloatType()))
            total = builder.extract_value(sums, token)
            total = _call(builder, "llvm.fmuladd.v16f32", floats.llvm, product, scale, total)
            whole = _spread_from(builder, activation_sums, 4 * token, ir.FloatType())
            total = _call(builder, "llvm.fmuladd.v16f32", floats.llvm, offset, whole, total)
            sums = builder.insert_value(sums, total, token)
        return sums

    @intrinsic
    def function(
        typing: Any, sums: Any, codes: Any, activations: Any, scale: Any, offset: Any, scales_: Any, sums_: Any
    ) -> Any:
        return tile(tile, types.int64, types.int64, floats, floats, types.int64, types.int64), codegen

    return function


@intrinsic
def add_columns(typing: Any, sums: Any, weights: Any, activations: Any) -> Any:
    """Add to a tile the products of one column: sixteen float weights, and activations (TOKENS,) f32 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        total = args[0]
        for token in range(TOKENS):
            factor = _spread_from(builder, args[2], 4 * token, ir.FloatType())
            old = builder.extract_value(total, token)
            new = _call(builder, "llvm.fmuladd.v16f32", floats.llvm, args[1], factor, old)
            total = builder.insert_value(total, new, token)
        return total

    return tile(tile, floats, types.int64), codegen


@intrinsic
def row_of(typing: Any, sums: Any, token: Any) -> Any:
    """The sums of one row of activations; `token` is a literal."""
    index = token.literal_value
    return floats(tile, token), lambda context, builder, sig, args: builder.extract_value(args[0], index)


@intrinsic
def store_tile(typing: Any, sums: Any, address: Any, stride: Any, count: Any) -> Any:
    """The first `count` rows of a tile to `address` and every `stride` bytes behind it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        sums, address, stride, count = args
        for token in range(TOKENS):
            wanted = builder.icmp_signed(">", count, ir.Constant(count.type, token))
            with builder.if_then(wanted):
                place = builder.add(address, builder.mul(stride, ir.Constant(stride.type, token)))
                value = builder.extract_value(sums, token)
                builder.store(value, builder.inttoptr(place, value.type.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(tile, types.int64, types.int64, types.int64), codegen


@intrinsic
def transpose(typing: Any, source: Any, stride: Any, target: Any) -> Any:
    """Sixteen rows of 64 bytes, `stride` bytes apart -> sixteen runs of 64 bytes: four bytes of each row in each."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        source, stride, target = args
        rows = [
            _load(builder, builder.add(source, builder.mul(stride, ir.Constant(stride.type, row))), ints.llvm)
            for row in range(LANES)
        ]
        for distance in (1, 2, 4, 8):
            kept = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
            moved = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
            orders = [ir.Constant(ir.VectorType(_I32, LANES), order) for order in (kept, moved)]
            for row in range(LANES):
                if not row & distance:
                    pair = rows[row], rows[row + distance]
                    rows[row], rows[row + distance] = (builder.shuffle_vector(*pair, order) for order in orders)
        for row, value in enumerate(rows):
            place = builder.add(target, ir.Constant(target.type, 64 * row))
            builder.store(value, builder.inttoptr(place, ints.llvm.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen
