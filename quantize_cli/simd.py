"""A 16-lane vector type for numba: one source becomes AVX-512, AVX2, SSE2 or NEON, and every lane keeps scalar order.

`floats` (f32), `ints` (i32) and `mask` (i1) are values a kernel may hold, add, compare and select; a scalar beside a
vector is copied to all lanes. `load` and `store` move sixteen neighbours of one row of a 2-D array whose rows are
contiguous (a field of a structured array will do). Nothing here contracts, reassociates or assumes away a NaN, so a
lane computes what the same C expression computes without -ffast-math.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from quantize_cli import half

LANES = 16
_I1, _I16, _I32 = ir.IntType(1), ir.IntType(16), ir.IntType(32)


class Vector(types.Type):
    """Sixteen lanes of one LLVM number type, or twice as many."""

    def __init__(self, element: types.Type, lane: ir.Type, lanes: int) -> None:
        self.element, self.lane, self.lanes, self.llvm = element, lane, lanes, ir.VectorType(lane, lanes)
        super().__init__(name=f"{element}x{lanes}")


def _kinds(lanes: int) -> tuple[Vector, Vector, Vector]:
    float_, int_, bool_ = types.float32, types.int32, types.boolean
    return Vector(float_, ir.FloatType(), lanes), Vector(int_, _I32, lanes), Vector(bool_, _I1, lanes)


floats, ints, mask = _kinds(LANES)
_WIDE = _kinds(2 * LANES)
"""Two vectors computed side by side, so that one's arithmetic fills the time the other waits for its own.

Made by `row` of an array (n, 2, 16); arithmetic, comparisons, select, minimum, maximum and roundings take them too.
"""


def _kinds_of(vector: Vector) -> tuple[Vector, Vector, Vector]:
    """The floats, ints and mask with as many lanes."""
    return (floats, ints, mask) if vector.lanes == LANES else _WIDE


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Vector) -> None:
        super().__init__(manager, frontend, frontend.llvm)


def _constant(kind: Vector, number: float) -> ir.Constant:
    return ir.Constant(kind.llvm, [number] * kind.lanes)


def _spread(builder: ir.IRBuilder, scalar: ir.Value, kind: Vector) -> ir.Value:
    undefined = ir.Constant(kind.llvm, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, kind.lanes), [0] * kind.lanes))


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


# --- operators ---------------------------------------------------------------------------------------------------


def _define(op: Callable[..., Any], kind: Vector, result: Vector, emit: Callable[..., ir.Value]) -> None:
    """Give `op` a meaning for two vectors of `kind`, and for one beside a scalar of its element type.

    A float vector takes a float32 only: a float64 literal beside it is a typing error, not a silent widening.
    """
    is_int = kind.element is types.int32
    scalar_types = types.Integer if is_int else type(kind.element)

    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple[types.Type, ...], kws: dict[str, Any]) -> Any:
            if len(args) == 2 and kind in args and all(a is kind or _fits(a) for a in args):
                return signature(result, *(a if a is kind else kind.element for a in args))
            return None

    def _fits(argument: types.Type) -> bool:
        return isinstance(argument, scalar_types) and (is_int or argument == kind.element)

    for left, right in ((kind, kind), (kind, kind.element), (kind.element, kind)):

        @lower_builtin(op, left, right)
        def _lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            a, b = (v if t is kind else _spread(builder, v, kind) for v, t in zip(args, sig.args, strict=True))
            return emit(builder, a, b)


_COMPARISONS = ((operator.lt, "<"), (operator.gt, ">"), (operator.le, "<="), (operator.ge, ">="), (operator.eq, "=="))


def _define_all(numbers: Vector, integers: Vector, masks: Vector) -> None:
    arithmetic = ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"))
    logic = ((operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor"))
    whole = ((operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"), *logic)
    shifts = ((operator.lshift, "shl"), (operator.rshift, "ashr"))
    for kind, operators in ((numbers, arithmetic), (integers, (*whole, *shifts)), (masks, logic)):
        for op, name in operators:
            _define(op, kind, kind, lambda b, x, y, n=name: getattr(b, n)(x, y))
    for op, sign in _COMPARISONS:
        _define(op, numbers, masks, lambda b, x, y, s=sign: b.fcmp_ordered(s, x, y))
        _define(op, integers, masks, lambda b, x, y, s=sign: b.icmp_signed(s, x, y))


_define_all(floats, ints, mask)
_define_all(*_WIDE)


# --- memory ------------------------------------------------------------------------------------------------------


def _address(context: Any, builder: ir.IRBuilder, array_type: Any, args: Any, lane: ir.Type) -> ir.Value:
    """Pointer to sixteen `lane`s at array[row, start]; only the row stride is looked at."""
    array = context.make_array(array_type)(context, builder, args[0])
    row_stride = builder.extract_value(array.strides, 0)
    base = builder.ptrtoint(array.data, row_stride.type)
    itemsize = ir.Constant(row_stride.type, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    at = builder.add(base, builder.add(builder.mul(args[1], row_stride), builder.mul(args[2], itemsize)))
    return builder.inttoptr(at, ir.VectorType(lane, LANES).as_pointer())


def _lane_of(dtype: types.Type) -> ir.Type:
    return ir.FloatType() if dtype == types.float32 else ir.IntType(dtype.bitwidth)


@intrinsic
def load(typing: Any, array: Any, row: Any, start: Any) -> Any:
    """array[row, start : start + 16] -> floats from float32, ints from any narrower integer."""
    kind, lane = (floats if array.dtype == types.float32 else ints), _lane_of(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(_address(context, builder, sig.args[0], args, lane))
        value.align = 1
        if kind is floats or lane == _I32:
            return value
        return (builder.sext if array.dtype.signed else builder.zext)(value, ints.llvm)

    return kind(array, types.intp, types.intp), codegen


@intrinsic
def store(typing: Any, array: Any, row: Any, start: Any, value: Any) -> Any:
    """array[row, start : start + 16] = value; ints keep the low bits a narrower element has room for."""
    lane = _lane_of(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        narrow = args[3] if lane == value.lane else builder.trunc(args[3], ir.VectorType(lane, LANES))
        builder.store(narrow, _address(context, builder, sig.args[0], args, lane)).align = 1
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
        how = [ir.Constant(_I32, number) for number in (0, 2, 1)]
        _call(builder, "llvm.prefetch.p0i8", ir.VoidType(), builder.inttoptr(args[0], byte), *how)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def load_half(typing: Any, array: Any, row: Any, start: Any) -> Any:
    """Sixteen IEEE halves of a uint16 array -> floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(_address(context, builder, sig.args[0], args, _I16))
        value.align = 1
        return half.widen(builder, value)

    return floats(array, types.intp, types.intp), codegen


@intrinsic
def store_half(typing: Any, array: Any, row: Any, start: Any, value: Any) -> Any:
    """Floats -> sixteen IEEE halves of a uint16 array, rounded to nearest even."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        halves = half.narrow(builder, args[3])
        builder.store(halves, _address(context, builder, sig.args[0], args, _I16)).align = 1
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


# --- functions of lanes ------------------------------------------------------------------------------------------


@intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """A float32 or an integer in all sixteen lanes."""
    kind = ints if isinstance(scalar, types.Integer) else floats
    return kind(kind.element), lambda context, builder, sig, args: _spread(builder, args[0], kind)


@intrinsic
def select(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """Lanes of `a` where the condition holds, of `b` elsewhere."""
    return a(condition, a, a), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def lookup(typing: Any, table: Any, index: Any) -> Any:
    """In each lane the lane of `table` its index names; an index past 15 is not defined."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        found = ir.Constant(sig.return_type.llvm, ir.Undefined)
        for lane in range(LANES):  # LLVM makes one permutation of this where the machine has it
            at = builder.extract_element(args[1], ir.Constant(_I32, lane))
            found = builder.insert_element(found, builder.extract_element(args[0], at), ir.Constant(_I32, lane))
        return found

    return table(table, ints), codegen


def _choose(comparison: str) -> Any:
    @intrinsic
    def chosen(typing: Any, a: Any, b: Any) -> Any:
        kind = a if isinstance(a, Vector) else b

        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            x, y = (v if t is kind else _spread(builder, v, kind) for v, t in zip(args, sig.args, strict=True))
            compare = builder.icmp_signed if kind.element is types.int32 else builder.fcmp_ordered
            return builder.select(compare(comparison, x, y), x, y)

        return kind(*(t if t is kind else kind.element for t in (a, b))), codegen

    return chosen


minimum = _choose("<")
"""`a < b ? a : b` per lane, so a NaN on either side gives `b`."""
maximum = _choose(">")
"""`a > b ? a : b` per lane."""


def _unary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, a: Any) -> Any:
        kind = _kinds_of(a)[0]
        return kind(kind), lambda context, builder, sig, args: _call(
            builder, f"llvm.{name}.v{kind.lanes}f32", kind.llvm, args[0]
        )

    return function


absolute, square_root = _unary("fabs"), _unary("sqrt")
round_half_even = _unary("rint")
round_half_away = _unary("round")
"""C's roundf: halves go away from zero."""


@intrinsic
def to_float(typing: Any, value: Any) -> Any:
    """Signed integers -> the nearest floats."""
    number = _kinds_of(value)[0]
    return number(value), lambda context, builder, sig, args: builder.sitofp(args[0], number.llvm)


@intrinsic
def to_int(typing: Any, value: Any) -> Any:
    """Truncation toward zero; what does not fit, NaN included, becomes -2**31, as x86's cvttps2dq has it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        magnitude = _call(builder, "llvm.fabs.v16f32", floats.llvm, args[0])
        fits = builder.fcmp_ordered("<", magnitude, _constant(floats, 2.0**31))
        safe = builder.select(fits, args[0], _constant(floats, 0.0))
        return builder.select(fits, builder.fptosi(safe, ints.llvm), _constant(ints, -(2**31)))

    return ints(floats), codegen


@intrinsic
def fitting_int(typing: Any, value: Any) -> Any:
    """Truncation toward zero of floats known to fit; anything else is not defined."""
    return ints(floats), lambda context, builder, sig, args: builder.fptosi(args[0], ints.llvm)


@intrinsic
def fitting_int_away(typing: Any, value: Any) -> Any:
    """C's roundf of floats known to be below 2**22 in magnitude, as ints.

    The largest float below a half is added: a half itself would carry 0.49999997 over.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        sign = builder.and_(builder.bitcast(args[0], ints.llvm), _constant(ints, -(2**31)))
        below_half = builder.bitcast(_constant(floats, 0.49999997019767761), ints.llvm)
        half = builder.bitcast(builder.or_(sign, below_half), floats.llvm)
        return builder.fptosi(builder.fadd(args[0], half), ints.llvm)

    return ints(floats), codegen


@intrinsic
def bits(typing: Any, value: Any) -> Any:
    """The IEEE bits of each lane, as ints."""
    integer = _kinds_of(value)[1]
    return integer(value), lambda context, builder, sig, args: builder.bitcast(args[0], integer.llvm)


@intrinsic
def from_bits(typing: Any, value: Any) -> Any:
    """Ints taken as the IEEE bits of floats."""
    number = _kinds_of(value)[0]
    return number(value), lambda context, builder, sig, args: builder.bitcast(args[0], number.llvm)


@intrinsic
def shift_right(typing: Any, value: Any, count: Any) -> Any:
    """Ints shifted right by a scalar count, zeros coming in."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.lshr(args[0], _spread(builder, args[1], ints))

    return ints(ints, types.int32), codegen


@intrinsic
def any_lane(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in any lane."""

    all_bits = ir.IntType(condition.lanes)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], all_bits), ir.Constant(all_bits, 0))

    return types.boolean(condition), codegen


@intrinsic
def lane_bits(typing: Any, condition: Any) -> Any:
    """A mask as uint16: bit i says whether it holds in lane i."""
    return types.uint16(mask), lambda context, builder, sig, args: builder.bitcast(args[0], _I16)


@intrinsic
def lanes_where(typing: Any, bits_: Any) -> Any:
    """The mask whose lane i is bit i of a uint16."""
    return mask(types.uint16), lambda context, builder, sig, args: builder.bitcast(args[0], mask.llvm)


@intrinsic
def all_lanes(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in every lane."""

    all_bits = ir.IntType(condition.lanes)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.icmp_unsigned("==", builder.bitcast(args[0], all_bits), ir.Constant(all_bits, -1))

    return types.boolean(condition), codegen


@intrinsic
def largest(typing: Any, value: Any) -> Any:
    """The largest of sixteen ints, as int32. On the bits of non-negative floats it finds the largest float."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return _call(builder, "llvm.vector.reduce.smax.v16i32", _I32, args[0])

    return types.int32(ints), codegen


def _reduce(name: str) -> Any:
    @intrinsic
    def function(typing: Any, value: Any) -> Any:
        return types.float32(floats), lambda context, builder, sig, args: _call(
            builder, f"llvm.vector.reduce.{name}.v16f32", ir.FloatType(), args[0]
        )

    return function


highest, lowest = _reduce("fmax"), _reduce("fmin")
"""The largest and smallest of sixteen floats, as float32. Which of two zeros is found is not defined."""


@intrinsic
def float_from_bits(typing: Any, value: Any) -> Any:
    """An int32 taken as the IEEE bits of a float32."""
    return types.float32(types.int32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def nearest(typing: Any, value: Any) -> Any:
    """ggml's nearest_int, bit for bit: round to nearest even by adding 1.5 * 2**23 and keeping the low 23 bits.

    Past +-4194303 the low bits are what they are; infinities give -4194304 and NaN gives 0. The reference computes
    the same in those cases, and files depend on it.
    """

    number, integer, _ = _kinds_of(value)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        shifted = builder.fadd(args[0], _constant(number, 12582912.0))
        low = builder.and_(builder.bitcast(shifted, integer.llvm), _constant(integer, 0x007FFFFF))
        return builder.sub(low, _constant(integer, 0x00400000))

    return integer(number), codegen


# --- arithmetic that decides no bytes, and rows that do not fill vectors -----------------------------------------


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the processor has an instruction for it, else twice. Not for what files hold."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        values = [v if t is floats else _spread(builder, v, floats) for v, t in zip(args, sig.args, strict=True)]
        return _call(builder, "llvm.fmuladd.v16f32", floats.llvm, *values)

    return floats(*(t if t is floats else types.float32 for t in (a, b, c))), codegen


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """The sum of sixteen floats as float32, halves of the vector added to each other until one lane is left."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = args[0]
        for count in (8, 4, 2, 1):
            low, high = (ir.Constant(ir.VectorType(_I32, count), list(range(s, s + count))) for s in (0, count))
            value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return types.float32(floats), codegen


@intrinsic
def lane_numbers(typing: Any) -> Any:
    """0, 1, ... 15."""
    return ints(), lambda context, builder, sig, args: ir.Constant(ints.llvm, list(range(LANES)))


def picked(order: tuple[int, ...]) -> Any:
    """A function of two float vectors that gives sixteen of their lanes; those of the second count from 16 on."""

    @intrinsic
    def function(typing: Any, a: Any, b: Any) -> Any:
        lanes = ir.Constant(ints.llvm, list(order))
        return floats(floats, floats), lambda context, builder, sig, args: builder.shuffle_vector(*args, lanes)

    return function


def _first_lanes(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    numbers = ir.Constant(ints.llvm, list(range(LANES)))
    return builder.icmp_signed("<", numbers, _spread(builder, builder.trunc(count, _I32), ints))


@intrinsic
def load_some(typing: Any, array: Any, row: Any, start: Any, count: Any) -> Any:
    """array[row, start : start + count] of float32 in the first lanes, zeros in the others, whose memory is let be."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        address = _address(context, builder, sig.args[0], args, floats.lane)
        wanted = _first_lanes(builder, args[3])
        name = "llvm.masked.load.v16f32.p0v16f32"
        return _call(builder, name, floats.llvm, address, ir.Constant(_I32, 4), wanted, _constant(floats, 0.0))

    return floats(array, types.intp, types.intp, types.intp), codegen


@intrinsic
def store_some(typing: Any, array: Any, row: Any, start: Any, value: Any, count: Any) -> Any:
    """array[row, start : start + count] = the first lanes of floats."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        address = _address(context, builder, sig.args[0], args, floats.lane)
        wanted = _first_lanes(builder, args[4])
        name = "llvm.masked.store.v16f32.p0v16f32"
        _call(builder, name, ir.VoidType(), args[3], address, ir.Constant(_I32, 4), wanted)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, floats, types.intp), codegen


# --- sixteen rows at once ----------------------------------------------------------------------------------------


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
    return ir.Constant(ir.VectorType(_I32, LANES), order)


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
                value = builder.load(_address(context, builder, sig.args[0], at, ir.FloatType()))
                value.align = 1
                return _call(builder, "llvm.fabs.v16f32", floats.llvm, value) if magnitudes else value

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


@intrinsic
def prefetch(typing: Any, array: Any, row: Any) -> Any:
    """Ask for array[row, :32] f32 to be in cache soon. A row past the last one does no harm."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        for start in (0, LANES):
            at = (args[0], args[1], args[1].type(start))
            address = _address(context, builder, sig.args[0], at, ir.FloatType())
            pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
            read, keep, data = _I32(0), _I32(3), _I32(1)
            _call(builder, "llvm.prefetch.p0i8", ir.VoidType(), pointer, read, keep, data)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


# --- rows of a workspace: float32 arrays (n, 16), or (n, 2, 16) for two vectors side by side ------------------------


def _row_address(context: Any, builder: ir.IRBuilder, array_type: Any, args: Any) -> ir.Value:
    """Pointer to a row of an array without gaps: a constant offset, where `load` multiplies by a stride."""
    array = context.make_array(array_type)(context, builder, args[0])
    return builder.gep(builder.bitcast(array.data, _row_type(array_type).llvm.as_pointer()), [args[1]])


def _row_type(array_type: Any) -> Vector:
    if array_type.layout != "C" or array_type.dtype != types.float32:
        raise TypeError(f"rows of {array_type} are not float32 without gaps")
    return floats if array_type.ndim == 2 else _WIDE[0]


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
        vector = args[2] if value is kind else _spread(builder, args[2], kind)
        builder.store(vector, _row_address(context, builder, sig.args[0], args)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, kind if value is kind else types.float32), codegen


@intrinsic
def zeros_like(typing: Any, vector: Any) -> Any:
    """Floats of as many lanes, all +0."""
    return vector(vector), lambda context, builder, sig, args: _constant(sig.return_type, 0.0)


@intrinsic
def transpose(typing: Any, array: Any, first: Any, half: Any) -> Any:
    """Turn rows first..first + 15 of a workspace into its columns, in place; of wide rows only the given half."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        start = _row_address(context, builder, sig.args[0], args)
        start = builder.gep(builder.bitcast(start, floats.llvm.as_pointer()), [args[2]])
        places = [builder.gep(start, [ir.Constant(_I32, i * (array.ndim - 1))]) for i in range(LANES)]
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
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, LANES), lanes))

    def quarters(lanes: tuple[int, ...]) -> list[int]:
        return [lane + 4 * quarter for quarter in range(4) for lane in lanes]

    singles = [quarters((0, 16, 1, 17)), quarters((2, 18, 3, 19))]
    pairs = [quarters((0, 1, 16, 17)), quarters((2, 3, 18, 19))]
    even_odd = [[lane + 8 * half + 4 * odd for half in range(4) for lane in range(4)] for odd in range(2)]
    rows = [mixed(rows[i & ~1], rows[i | 1], singles[i & 1]) for i in range(LANES)]
    rows = [mixed(rows[i & ~3 | i >> 1 & 1], rows[i & ~3 | i >> 1 & 1 | 2], pairs[i & 1]) for i in range(LANES)]
    rows = [mixed(rows[i & ~7 | i & 3], rows[i & ~7 | i & 3 | 4], even_odd[i >> 2 & 1]) for i in range(LANES)]
    return [mixed(rows[i & 7], rows[i & 7 | 8], even_odd[i >> 3]) for i in range(LANES)]
