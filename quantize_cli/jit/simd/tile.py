"""Sums of products held in registers: some rows of factors by some lines of columns.

A tile grows by outer products: one factor of every row is spread over the lanes and multiplied with lines of columns.
In float32 a product and the sum it is added to are rounded once, in float64 twice. Addresses are int64, and distances
in bytes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd.addresses import load_from, spread_from
from quantize_cli.jit.simd.fused import emit_fused
from quantize_cli.jit.simd.vector import Vector, constant, floats

doubles = Vector(types.float64, ir.DoubleType(), 8)
LINE_NBYTES = 64


class Tile(NamedTuple):
    """What can be done with tiles of one shape and type of number."""

    empty: Any
    """() -> a tile of zeros."""
    add: Any
    """(tile, factors, distance, columns) -> the tile plus one factor of each row, `distance` apart, times the lines."""
    load: Any
    """(address, row distance, line distance) -> the sums in memory."""
    store: Any
    """(tile, address, row distance, line distance): put the sums there."""


Grow = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]
"""The instructions for a line's factor in all lanes, the values of that line and the sums -> the new sums."""


def _grown(builder: ir.IRBuilder, factor: ir.Value, values: ir.Value, total: ir.Value) -> ir.Value:
    if values.type == floats.llvm:
        return emit_fused(builder, factor, values, total)
    return builder.fadd(builder.fmul(factor, values), total)


def tile_of(line: Vector, rows: int, lines: int, operand: Vector | None = None, grow: Grow = _grown) -> Tile:
    """Tiles of `rows` by `lines` of `floats` or `doubles`; of `operand` are the factors and columns, if of another."""
    kind, operand = types.UniTuple(line, rows * lines), operand or line
    nbytes = LINE_NBYTES // line.lanes

    @intrinsic
    def empty(typing: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            return ir.Constant(context.get_value_type(kind), [constant(line, 0.0)] * rows * lines)

        return kind(), codegen

    @intrinsic
    def add(typing: Any, sums: Any, factors: Any, distance: Any, columns: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums, factors, distance, columns = args
            starts = [_behind(builder, columns, LINE_NBYTES, at) for at in range(lines)]
            values = [load_from(builder, start, operand.llvm, nbytes) for start in starts]
            for row in range(rows):
                factor = spread_from(builder, _behind(builder, factors, distance, row), operand, nbytes)
                for at, value in enumerate(values, row * lines):
                    total = grow(builder, factor, value, builder.extract_value(sums, at))
                    sums = builder.insert_value(sums, total, at)
            return sums

        return kind(kind, types.int64, types.int64, types.int64), codegen

    @intrinsic
    def load(typing: Any, address: Any, row_distance: Any, line_distance: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums = ir.Constant(context.get_value_type(kind), ir.Undefined)
            for at, address in enumerate(_addresses(builder, args, rows, lines)):
                sums = builder.insert_value(sums, load_from(builder, address, line.llvm, nbytes), at)
            return sums

        return kind(types.int64, types.int64, types.int64), codegen

    @intrinsic
    def store(typing: Any, sums: Any, address: Any, row_distance: Any, line_distance: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            for at, address in enumerate(_addresses(builder, args[1:], rows, lines)):
                pointer = builder.inttoptr(address, line.llvm.as_pointer())
                builder.store(builder.extract_value(args[0], at), pointer).align = nbytes
            return context.get_dummy_value()

        return types.void(kind, types.int64, types.int64, types.int64), codegen

    return Tile(empty, add, load, store)


def _behind(builder: ir.IRBuilder, address: ir.Value, distance: ir.Value | int, count: int) -> ir.Value:
    """The address `count` distances behind another."""
    if isinstance(distance, int):
        return builder.add(address, ir.Constant(address.type, distance * count))
    return builder.add(address, builder.mul(distance, ir.Constant(distance.type, count)))


def _addresses(builder: ir.IRBuilder, args: Any, rows: int, lines: int) -> list[ir.Value]:
    """Of the lines of each row, from (address, row distance, line distance)."""
    address, row_distance, line_distance = args
    starts = [_behind(builder, address, row_distance, row) for row in range(rows)]
    return [_behind(builder, start, line_distance, line) for start in starts for line in range(lines)]
