"""Reductions of sixteen rows of an array at once."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from quantize_cli.jit.simd.memory import address_of
from quantize_cli.jit.simd.vector import I32, LANES, call, floats


def _row_of_leaf(leaf: int) -> int:
    """Which row to hand `_reduce_rows` as its `leaf`-th vector, so that its answers come out in the order of rows."""
    return leaf % 4 * 4 + leaf // 4


def _reduce_rows(builder: ir.IRBuilder, vectors: list[ir.Value], choose: Callable[..., ir.Value]) -> ir.Value:
    """Sixteen vectors -> one, a lane of which holds what `choose` keeps of one of them.

    Halves of two vectors meet in one, then their quarters and so on: two shuffles for two rows at each of four levels,
    where a row by itself needs four shuffles.
    """
    if len(vectors) == 1:
        return vectors[0]
    middle = len(vectors) // 2
    a, b = (_reduce_rows(builder, part, choose) for part in (vectors[:middle], vectors[middle:]))
    return choose(*(builder.shuffle_vector(a, b, order) for order in _HALVES[len(vectors)]))


def _shuffle(order: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, LANES), order)


_HALVES = {
    2: [_shuffle([i + 8 * part for i in (*range(8), *range(16, 24))]) for part in (0, 1)],
    4: [_shuffle([i + 4 * part for start in (0, 8, 16, 24) for i in range(start, start + 4)]) for part in (0, 1)],
    8: [_shuffle([i + start + 2 * part for start in (0, 4, 8, 12) for i in (0, 1, 16, 17)]) for part in (0, 1)],
    16: [_shuffle([i + start + part for start in (0, 4, 8, 12) for i in (0, 2, 16, 18)]) for part in (0, 1)],
}
"""Where two vectors keep the lower and the upper part of what belongs to one row, by how many vectors meet in them.

Each is one instruction of AVX-512: at first whole registers' halves move, at last neighbours.
"""


def _of_rows(comparison: str, magnitudes: bool) -> Any:
    @intrinsic
    def found(typing: Any, array: Any, row: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            def read(index: int, start: int) -> ir.Value:
                at = (args[0], builder.add(args[1], args[1].type(index)), args[1].type(start))
                value = builder.load(address_of(context, builder, sig.args[0], at, ir.FloatType()))
                value.align = 1
                return call(builder, "llvm.fabs.v16f32", floats.llvm, value) if magnitudes else value

            def choose(x: ir.Value, y: ir.Value) -> ir.Value:
                return builder.select(builder.fcmp_ordered(comparison, x, y), x, y)

            rows = [_row_of_leaf(leaf) for leaf in range(LANES)]
            return _reduce_rows(builder, [choose(read(index, 0), read(index, LANES)) for index in rows], choose)

        return floats(array, types.intp), codegen

    return found


row_maxima, row_minima, row_magnitudes = _of_rows(">", False), _of_rows("<", False), _of_rows(">", True)
"""array[row : row + 16, :32] f32 -> in lane i the largest, smallest, largest in magnitude of row i.

Which of two zeros is found is not defined.
"""
