"""Tiles of sums: sixteen rows of weights in the lanes, TOKENS rows of activations."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.dots.kernels.products import DOT4, instructions
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.addresses import float_at, load_from, spread_from
from quantize_cli.jit.simd.fused import emit_fused
from quantize_cli.jit.simd.tile import tile_of
from quantize_cli.jit.simd.vector import I32, LANES, floats, ints

TOKENS = 8
"""Rows of activations a tile holds: with sixteen rows of weights, the sums of a tile fit the registers."""
_tile = types.UniTuple(floats, TOKENS)
"""The sums of a tile: per row of activations, sixteen rows of weights in the lanes."""
empty_tile, add_column, _, _ = tile_of(floats, TOKENS, 1)


def add_group(steps: int) -> Any:
    """A function that adds to a tile the products of one group of 4 * `steps` columns.

    Its arguments: the tile; addresses of weight codes (steps, 16, 4) u8 and activation codes (steps, TOKENS, 4) i8;
    the sixteen scales and offsets of the weights; addresses of the activations' scales and of their sums times these
    scales, (TOKENS,) f32 each.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        def behind(address: ir.Value, nbytes: int) -> ir.Value:
            return builder.add(address, ir.Constant(address.type, nbytes))

        sums, codes, activations, scale, offset, activation_scales, activation_sums = args
        totals = [ir.Constant(ints.llvm, [0] * LANES)] * TOKENS
        for step in range(steps):
            weights = load_from(builder, behind(codes, 64 * step), ints.llvm)
            for token in range(TOKENS):
                four = spread_from(builder, behind(activations, 4 * (step * TOKENS + token)), ints)
                totals[token] = DOT4[instructions()](builder, totals[token], weights, four)
        for token in range(TOKENS):
            product = builder.sitofp(totals[token], floats.llvm)
            product = builder.fmul(product, spread_from(builder, behind(activation_scales, 4 * token), floats))
            total = builder.extract_value(sums, token)
            total = emit_fused(builder, product, scale, total)
            whole = spread_from(builder, behind(activation_sums, 4 * token), floats)
            total = emit_fused(builder, offset, whole, total)
            sums = builder.insert_value(sums, total, token)
        return sums

    @intrinsic
    def function(
        typing: Any, sums: Any, codes: Any, activations: Any, scale: Any, offset: Any, scales_: Any, sums_: Any
    ) -> Any:
        return _tile(_tile, types.int64, types.int64, floats, floats, types.int64, types.int64), codegen

    return function


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

    return types.void(_tile, types.int64, types.int64, types.int64), codegen


@intrinsic
def transpose(typing: Any, source: Any, stride: Any, target: Any, apart: Any) -> Any:
    """Sixteen rows of 64 bytes, `stride` bytes apart -> sixteen runs of 64 bytes: four bytes of each row in each.

    Runs are `apart` bytes apart.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        source, stride, target, apart = args
        rows = [
            load_from(builder, builder.add(source, builder.mul(stride, ir.Constant(stride.type, row))), ints.llvm)
            for row in range(LANES)
        ]
        for distance in (1, 2, 4, 8):
            kept = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
            moved = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
            orders = [ir.Constant(ir.VectorType(I32, LANES), order) for order in (kept, moved)]
            for row in range(LANES):
                if not row & distance:
                    pair = rows[row], rows[row + distance]
                    rows[row], rows[row + distance] = (builder.shuffle_vector(*pair, order) for order in orders)
        for row, value in enumerate(rows):
            place = builder.add(target, builder.mul(apart, ir.Constant(apart.type, row)))
            builder.store(value, builder.inttoptr(place, ints.llvm.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@merged
def copy_corner(corner, out, token, count, row, stop):
    """From a tile in scratch to out (n, rows), the rows of weights that exist: `row` up to `stop`."""
    for index in range(count):
        for lane in range(stop - row):
            out[token + index, row + lane] = float_at(corner + 4 * (index * LANES + lane))
