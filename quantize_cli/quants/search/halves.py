"""Two searches side by side in one vector: lanes 0..7 belong to one, lanes 8..15 to the other."""

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import LANES, floats, ints, mask, shift_right

HALF = LANES // 2
_I32 = ir.IntType(32)
_ROW = ir.VectorType(_I32, HALF)
_LOW, _HIGH = [ir.Constant(_ROW, list(range(first, first + HALF))) for first in (0, HALF)]
_BOTH = ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES)))
_FEATURES = {} if config.CPU_NAME or config.CPU_FEATURES else binding.get_host_cpu_features()
_HAS_PERMUTE, _HAS_WIDE_PERMUTE = _FEATURES.get("avx2", False), _FEATURES.get("avx512f", False)
"""Whether the processor is known to permute eight lanes, and sixteen; one named by NUMBA_CPU_NAME counts as unable."""


def _half(builder: ir.IRBuilder, vector: ir.Value, lanes: ir.Constant) -> ir.Value:
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lanes)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def halves(typing: Any, low: Any, high: Any) -> Any:
    """One scalar in lanes 0..7 and another in lanes 8..15: float32s -> floats, integers -> ints."""
    kind = ints if isinstance(low, types.Integer) else floats
    zeros = ir.Constant(_ROW, [0] * HALF)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        undefined = ir.Constant(ir.VectorType(kind.lane, HALF), ir.Undefined)
        first = (builder.insert_element(undefined, scalar, ir.Constant(_I32, 0)) for scalar in args)
        return builder.shuffle_vector(*(builder.shuffle_vector(one, undefined, zeros) for one in first), _BOTH)

    return kind(kind.element, kind.element), codegen


@intrinsic
def load_halves(typing: Any, rows: Any, low: Any, high: Any) -> Any:
    """Two rows of a contiguous (n, 8) array, side by side: float32 -> floats, int32 -> ints."""
    kind = floats if rows.dtype == types.float32 else ints

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        data = builder.bitcast(data, ir.VectorType(kind.lane, HALF).as_pointer())
        loaded = [builder.load(builder.gep(data, [index])) for index in args[1:]]
        for row in loaded:
            row.align = 4
        return builder.shuffle_vector(*loaded, _BOTH)

    return kind(rows, types.intp, types.intp), codegen


@intrinsic
def look_up(typing: Any, table: Any, index: Any) -> Any:
    """Each lane picks from its own half of `table` (floats) by three bits of `index` (ints, from `side_bits`)."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        if _HAS_WIDE_PERMUTE:  # looks at four bits, of which the fourth says in which half
            return _call(builder, "llvm.x86.avx512.permvar.sf.512", floats.llvm, *args)
        pick = _permute if _HAS_PERMUTE else _extract
        found = [
            pick(builder, _half(builder, args[0], lanes), _half(builder, args[1], lanes)) for lanes in (_LOW, _HIGH)
        ]
        return builder.shuffle_vector(*found, _BOTH)

    return floats(floats, ints), codegen


@intrinsic
def side_bits(typing: Any, index: Any) -> Any:
    """Ints as indices for `look_up`, also after a shift by 4, 8 .. 28: every fourth bit is set in lanes 8..15 alone."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        low = builder.and_(args[0], ir.Constant(ints.llvm, [0x77777777] * LANES))
        return builder.or_(low, ir.Constant(ints.llvm, [0] * HALF + [0x88888888] * HALF))

    return ints(ints), codegen


def _permute(builder: ir.IRBuilder, entries: ir.Value, wanted: ir.Value) -> ir.Value:
    """One instruction, which looks at no more than three bits."""
    return _call(builder, "llvm.x86.avx2.permps", entries.type, entries, wanted)


def _extract(builder: ir.IRBuilder, entries: ir.Value, wanted: ir.Value) -> ir.Value:
    wanted = builder.and_(wanted, ir.Constant(_ROW, [HALF - 1] * HALF))
    found = ir.Constant(entries.type, ir.Undefined)
    for lane in (ir.Constant(_I32, i) for i in range(HALF)):
        entry = builder.extract_element(entries, builder.extract_element(wanted, lane))
        found = builder.insert_element(found, entry, lane)
    return found


@intrinsic
def least_of_halves(typing: Any, rows: Any) -> Any:
    """The smallest of each half row of a contiguous (8, 16) float32 array: row r's in lanes r and r + 8. No NaN may be.

    Each step folds two vectors into one, so that all sixteen answers cost little more than one alone.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        data = builder.bitcast(data, floats.llvm.as_pointer())
        vectors = [builder.load(builder.gep(data, [ir.Constant(_I32, row)])) for row in range(HALF)]
        for vector in vectors:
            vector.align = 4
        for quarters in ((0, 16, 1, 17), (0, 1, 16, 17), None):
            vectors = [_fold(builder, x, y, quarters) for x, y in zip(vectors[::2], vectors[1::2], strict=True)]
        return vectors[0]

    return floats(rows), codegen


@intrinsic
def two_least_of_halves(typing: Any, least: Any, second: Any, first: Any, found: Any) -> Any:
    """As `least_of_halves` of rows `first` .. `first` + 7, with the second smallest: found (2, 16) receives both.

    Each half's numbers are those of `least` (n, 16); `second` has what else was smallest in the same columns.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        data = [context.make_array(sig.args[i])(context, builder, args[i]).data for i in (0, 1, 3)]
        a, b, out = (builder.bitcast(pointer, floats.llvm.as_pointer()) for pointer in data)
        a, b = builder.gep(a, [args[2]]), builder.gep(b, [args[2]])
        pairs = [[builder.load(builder.gep(side, [ir.Constant(_I32, row)])) for side in (a, b)] for row in range(HALF)]
        for vector in (vector for pair in pairs for vector in pair):
            vector.align = 4
        for quarters in ((0, 16, 1, 17), (0, 1, 16, 17), None):
            pairs = [_fold_two(builder, x, y, quarters) for x, y in zip(pairs[::2], pairs[1::2], strict=True)]
        for row, vector in enumerate(pairs[0]):
            builder.store(vector, builder.gep(out, [ir.Constant(_I32, row)])).align = 4
        return context.get_dummy_value()

    return types.void(least, second, types.uintp, found), codegen


def _fold_two(builder: ir.IRBuilder, x: Any, y: Any, quarters: tuple[int, ...] | None) -> list[ir.Value]:
    """The smallest and second smallest of what `_fold` would take the smaller of."""
    (a, b), (c, d) = (_turned(builder, x[i], y[i], quarters) for i in (0, 1))
    lower = builder.fcmp_ordered("<", a, b)
    least, other = builder.select(lower, a, b), builder.select(lower, b, a)
    rest = builder.select(builder.fcmp_ordered("<", c, d), c, d)
    return [least, builder.select(builder.fcmp_ordered("<", other, rest), other, rest)]


def _fold(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, quarters: tuple[int, ...] | None) -> ir.Value:
    a, b = _turned(builder, x, y, quarters)
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _turned(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, quarters: tuple[int, ...] | None) -> list[ir.Value]:
    """Two shuffles of x and y that leave each half's numbers in its place: of quarters of four lanes, or of fours."""
    if quarters is None:
        low, step = [fours * 8 + i + side for fours in (0, 1) for side in (0, 16) for i in range(4)], 4
    else:
        low, step = [fours * 4 + i for fours in range(4) for i in quarters], 2
    return [builder.shuffle_vector(x, y, ir.Constant(_BOTH.type, [i + shift for i in low])) for shift in (0, step)]


@intrinsic
def least_in_halves(typing: Any, value: Any) -> Any:
    """In every lane the smallest of its half. No NaN may be."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        least = args[0]
        for step in (4, 2, 1):
            other = ir.Constant(_BOTH.type, [lane ^ step for lane in range(LANES)])
            turned = builder.shuffle_vector(least, least, other)
            least = builder.select(builder.fcmp_ordered("<", least, turned), least, turned)
        return least

    return floats(floats), codegen


@intrinsic
def iota_in_halves(typing: Any) -> Any:
    """0..7 in either half."""
    lanes = ir.Constant(ints.llvm, [lane % HALF for lane in range(LANES)])
    return ints(), lambda context, builder, sig, args: lanes


@intrinsic
def low_half_twice(typing: Any, value: Any) -> Any:
    """Floats with lanes 0..7 in either half."""
    low = ir.Constant(_BOTH.type, [lane % HALF for lane in range(LANES)])
    return floats(floats), lambda context, builder, sig, args: builder.shuffle_vector(args[0], args[0], low)


@intrinsic
def swap_halves(typing: Any, value: Any) -> Any:
    """Ints with lanes 8..15 first."""
    other = ir.Constant(_BOTH.type, [lane ^ HALF for lane in range(LANES)])
    return ints(ints), lambda context, builder, sig, args: builder.shuffle_vector(args[0], args[0], other)


def _bits_of(lanes: ir.Constant) -> Any:
    @intrinsic
    def function(typing: Any, condition: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            return builder.zext(builder.bitcast(_half(builder, args[0], lanes), ir.IntType(HALF)), _I32)

        return types.uint32(mask), codegen

    return function


low_bits, high_bits = _bits_of(_LOW), _bits_of(_HIGH)
"""Where the condition holds among eight lanes: bit i for lane i, as uint32."""


@intrinsic
def lowest_bit(typing: Any, number: Any) -> Any:
    """The position of the lowest bit set of a uint32 that is not zero."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.uint64(types.uint32), codegen


@merged
def add_up(length, tables, words):
    """The sum, in order, of one entry for each of `length` codes of a point, which `words` hold in four bits each."""
    first, second, third, fourth = tables
    words = side_bits(words)
    if length == 4:
        total = look_up(first, words) + look_up(second, shift_right(words, 4))
        return total + look_up(third, shift_right(words, 8)) + look_up(fourth, shift_right(words, 12))
    total = look_up(first, words) + look_up(first, shift_right(words, 4))
    total = total + look_up(second, shift_right(words, 8)) + look_up(second, shift_right(words, 12))
    total = total + look_up(third, shift_right(words, 16)) + look_up(third, shift_right(words, 20))
    return total + look_up(fourth, shift_right(words, 24)) + look_up(fourth, shift_right(words, 28))
