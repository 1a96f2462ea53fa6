"""Rows of a workspace: float32 arrays (n, 16), or (n, 2, 16) for two vectors side by side."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd.vector import I32, LANES, WIDE, Vector, constant, floats, spread


def _row_address(context: Any, builder: ir.IRBuilder, array_type: Any, args: Any) -> ir.Value:
    """Pointer to a row of an array without gaps: a constant offset, where `load` multiplies by a stride."""
    array = context.make_array(array_type)(context, builder, args[0])
    return builder.gep(builder.bitcast(array.data, _row_type(array_type).llvm.as_pointer()), [args[1]])


def _row_type(array_type: Any) -> Vector:
    if array_type.layout != "C" or array_type.dtype != types.float32:
        raise TypeError(f"rows of {array_type} are not float32 without gaps")
    return floats if array_type.ndim == 2 else WIDE[0]


@intrinsic
def row(typing: Any, array: Any, index: Any) -> Any:
    """Row `index` of a workspace -> floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(_row_address(context, builder, sig.args[0], args))
        value.align = 4
        return value

    return _row_type(array)(array, types.intp), codegen


@intrinsic
def set_row(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Row `index` of a workspace = floats, or a float32 in all lanes."""
    kind = _row_type(array)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        vector = args[2] if value is kind else spread(builder, args[2], kind)
        builder.store(vector, _row_address(context, builder, sig.args[0], args)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, kind if value is kind else types.float32), codegen


@intrinsic
def zeros_like(typing: Any, vector: Any) -> Any:
    """Floats of as many lanes, all +0."""
    return vector(vector), lambda context, builder, sig, args: constant(sig.return_type, 0.0)


@intrinsic
def transpose(typing: Any, array: Any, first: Any, half: Any) -> Any:
    """Turn rows first..first + 15 of a workspace into its columns, in place; of wide rows only the given half."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = _row_address(context, builder, sig.args[0], args)
        start = builder.gep(builder.bitcast(start, floats.llvm.as_pointer()), [args[2]])
        places = [builder.gep(start, [ir.Constant(I32, i * (array.ndim - 1))]) for i in range(LANES)]
        rows = [builder.load(place) for place in places]
        for value in rows:
            value.align = 4
        for value, place in zip(_transposed(builder, rows), places, strict=True):
            builder.store(value, place).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def _transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Columns of sixteen rows, by shuffles that every x86 vector set has: 4 x 4 in each quarter, then the quarters."""

    def mixed(a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, LANES), lanes))

    def quarters(lanes: tuple[int, ...]) -> list[int]:
        return [lane + 4 * quarter for quarter in range(4) for lane in lanes]

    singles = [quarters((0, 16, 1, 17)), quarters((2, 18, 3, 19))]
    pairs = [quarters((0, 1, 16, 17)), quarters((2, 3, 18, 19))]
    even_odd = [[lane + 8 * half + 4 * odd for half in range(4) for lane in range(4)] for odd in range(2)]
    rows = [mixed(rows[i & ~1], rows[i | 1], singles[i & 1]) for i in range(LANES)]
    rows = [mixed(rows[i & ~3 | i >> 1 & 1], rows[i & ~3 | i >> 1 & 1 | 2], pairs[i & 1]) for i in range(LANES)]
    rows = [mixed(rows[i & ~7 | i & 3], rows[i & ~7 | i & 3 | 4], even_odd[i >> 2 & 1]) for i in range(LANES)]
    return [mixed(rows[i & 7], rows[i & 7 | 8], even_odd[i >> 3]) for i in range(LANES)]
