"""Sums of products held in registers: ROWS rows of factors by one or two vectors of columns.

A tile grows by outer products: at each step one factor of every row is spread over sixteen lanes and multiplied with
the step's vectors. Two vectors by eight rows are sixteen sums: enough to hide the latency of a multiply-add, and half
of AVX-512's registers. Addresses are int64, distances between rows of factors are in bytes.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd import LANES, emit_fused, floats

ROWS = 8
_F32, _I32 = ir.FloatType(), ir.IntType(32)


def _pointer(builder: ir.IRBuilder, address: ir.Value, offset: ir.Value | int, kind: ir.Type) -> ir.Value:
    if isinstance(offset, int):
        offset = ir.Constant(address.type, offset)
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _load(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    value = builder.load(pointer)
    value.align = 4
    return value


def _spread(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    undefined = ir.Constant(floats.llvm, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def _empty(vectors: int) -> Any:
    kind = types.UniTuple(floats, ROWS * vectors)

    @intrinsic
    def function(typing: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            zeros = ir.Constant(floats.llvm, [0.0] * LANES)
            return ir.Constant(context.get_value_type(kind), [zeros] * ROWS * vectors)

        return kind(), codegen

    return function


def _add(vectors: int) -> Any:
    kind = types.UniTuple(floats, ROWS * vectors)

    @intrinsic
    def function(typing: Any, sums: Any, factors: Any, distance: Any, columns: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums, factors, distance, columns = args
            loaded = [_load(builder, _pointer(builder, columns, 64 * v, floats.llvm)) for v in range(vectors)]
            for row in range(ROWS):
                offset = builder.mul(distance, ir.Constant(distance.type, row))
                factor = _spread(builder, _load(builder, _pointer(builder, factors, offset, _F32)))
                for vector in range(vectors):
                    at = row * vectors + vector
                    total = emit_fused(builder, factor, loaded[vector], builder.extract_value(sums, at))
                    sums = builder.insert_value(sums, total, at)
            return sums

        return kind(kind, types.int64, types.int64, types.int64), codegen

    return function


def _store(vectors: int) -> Any:
    kind = types.UniTuple(floats, ROWS * vectors)

    @intrinsic
    def function(typing: Any, sums: Any, address: Any, row_distance: Any, vector_distance: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            sums, address, row_distance, vector_distance = args
            for at in range(ROWS * vectors):
                row, vector = divmod(at, vectors)
                offset = builder.add(
                    builder.mul(row_distance, ir.Constant(row_distance.type, row)),
                    builder.mul(vector_distance, ir.Constant(vector_distance.type, vector)),
                )
                value = builder.extract_value(sums, at)
                builder.store(value, _pointer(builder, address, offset, floats.llvm)).align = 4
            return context.get_dummy_value()

        return types.void(kind, types.int64, types.int64, types.int64), codegen

    return function


empty_single, empty_pair = _empty(1), _empty(2)
"""A tile of zeros."""
add_single, add_pair = _add(1), _add(2)
"""(tile, factors, distance, columns): the tile plus one factor of each row times the sixteen or 32 columns."""
store_single, store_pair = _store(1), _store(2)
"""(tile, address, row distance, vector distance): put the sums in memory."""
