"""Tiles of sums: sixteen rows of weights in the lanes, TOKENS rows of activations."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.dots.kernels.memory import load_from
from quantize_cli.dots.kernels.products import DOT4, instructions
from quantize_cli.jit.simd import LANES, emit_fused, floats, ints

_I32 = ir.IntType(32)
TOKENS = 8
"""Rows of activations a tile holds: with sixteen rows of weights, the sums of a tile fit the registers."""
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
            weights = load_from(builder, place, ints.llvm)
            for token in range(TOKENS):
                four = _spread_from(builder, activations, 4 * (step * TOKENS + token), _I32)
                totals[token] = DOT4[instructions()](builder, totals[token], weights, four)
        for token in range(TOKENS):
            product = builder.sitofp(totals[token], floats.llvm)
            product = builder.fmul(product, _spread_from(builder, activation_scales, 4 * token, ir.FloatType()))
            total = builder.extract_value(sums, token)
            total = emit_fused(builder, product, scale, total)
            whole = _spread_from(builder, activation_sums, 4 * token, ir.FloatType())
            total = emit_fused(builder, offset, whole, total)
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
            new = emit_fused(builder, args[1], factor, old)
            total = builder.insert_value(total, new, token)
        return total

    return tile(tile, floats, types.int64), codegen


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
            load_from(builder, builder.add(source, builder.mul(stride, ir.Constant(stride.type, row))), ints.llvm)
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
