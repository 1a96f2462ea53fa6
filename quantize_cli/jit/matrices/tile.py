"""Sums of products held in registers: some rows of factors by some lines of 64 bytes, in float32 or float64.

A tile grows by outer products. In float32 a product and the sum it is added to are rounded once, in float64 twice.
"""

from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from quantize_cli.jit.simd import Vector, emit_fused, floats

_I32 = ir.IntType(32)
LINE_NBYTES = 64
doubles = Vector(types.float64, ir.DoubleType(), 8)


def _has_large_registers() -> bool:
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return bool(binding.get_host_cpu_features().get("avx512f", False))


ROWS, LINES = (8, 2) if _has_large_registers() else (6, 1)
"""As many sums as fit the registers, beside what is added; the sums themselves are the same for any shape."""


class Tile(NamedTuple):
    """What can be done with tiles of one type of number."""

    empty: Any
    """() -> a tile of zeros."""
    add: Any
    """(tile, factors, columns) -> the tile plus ROWS factors times the LINES lines of columns, both addresses."""
    load: Any
    """(address, distance) -> the sums in memory, rows `distance` bytes apart."""
    store: Any
    """(tile, address, distance): put the sums there."""


def _address(builder: ir.IRBuilder, base: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
    return builder.inttoptr(builder.add(base, ir.Constant(base.type, offset)), kind.as_pointer())


def _spread(builder: ir.IRBuilder, number: ir.Value, kind: ir.VectorType) -> ir.Value:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _load(builder: ir.IRBuilder, pointer: ir.Value, alignment: int) -> ir.Value:
    value = builder.load(pointer)
    value.align = alignment
    return value


def tile_of(line: Vector) -> Tile:
    """Tiles whose lines are `floats` or `doubles`."""
    kind = types.UniTuple(line, ROWS * LINES)
    nbytes = LINE_NBYTES // line.lanes

    @intrinsic
    def empty(typing: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            zeros = ir.Constant(line.llvm, [0.0] * line.lanes)
            return ir.Constant(context.get_value_type(kind), [zeros] * ROWS * LINES)

        return kind(), codegen

    @intrinsic
    def add(typing: Any, sums: Any, factors: Any, columns: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums, factors, columns = args
            lines = [
                _load(builder, _address(builder, columns, LINE_NBYTES * at, line.llvm), nbytes) for at in range(LINES)
            ]
            for row in range(ROWS):
                pointer = _address(builder, factors, nbytes * row, line.lane)
                factor = _spread(builder, _load(builder, pointer, nbytes), line.llvm)
                for number, values in enumerate(lines):
                    at = row * LINES + number
                    total = _grown(builder, factor, values, builder.extract_value(sums, at))
                    sums = builder.insert_value(sums, total, at)
            return sums

        return kind(kind, types.int64, types.int64), codegen

    @intrinsic
    def load(typing: Any, address: Any, distance: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            address, distance = args
            sums = ir.Constant(context.get_value_type(kind), ir.Undefined)
            for row in range(ROWS):
                for number in range(LINES):
                    pointer = _address(builder, address, LINE_NBYTES * number, line.llvm)
                    sums = builder.insert_value(sums, _load(builder, pointer, nbytes), row * LINES + number)
                address = builder.add(address, distance)
            return sums

        return kind(types.int64, types.int64), codegen

    @intrinsic
    def store(typing: Any, sums: Any, address: Any, distance: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums, address, distance = args
            for row in range(ROWS):
                for number in range(LINES):
                    pointer = _address(builder, address, LINE_NBYTES * number, line.llvm)
                    builder.store(builder.extract_value(sums, row * LINES + number), pointer).align = nbytes
                address = builder.add(address, distance)
            return context.get_dummy_value()

        return types.void(kind, types.int64, types.int64), codegen

    return Tile(empty, add, load, store)


def _grown(builder: ir.IRBuilder, factor: ir.Value, values: ir.Value, total: ir.Value) -> ir.Value:
    if values.type == floats.llvm:
        return emit_fused(builder, factor, values, total)
    return builder.fadd(builder.fmul(factor, values), total)
