"""The vector types, and what operators mean for them."""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

LANES = 16
I1, I16, I32 = ir.IntType(1), ir.IntType(16), ir.IntType(32)


class Vector(types.Type):
    """Sixteen lanes of one LLVM number type, or twice as many."""

    def __init__(self, element: types.Type, lane: ir.Type, lanes: int) -> None:
        self.element, self.lane, self.lanes, self.llvm = element, lane, lanes, ir.VectorType(lane, lanes)
        super().__init__(name=f"{element}x{lanes}")


def _kinds(lanes: int) -> tuple[Vector, Vector, Vector]:
    float_, int_, bool_ = types.float32, types.int32, types.boolean
    return Vector(float_, ir.FloatType(), lanes), Vector(int_, I32, lanes), Vector(bool_, I1, lanes)


floats, ints, mask = _kinds(LANES)
WIDE = _kinds(2 * LANES)
"""Two vectors computed side by side, so that one's arithmetic fills the time the other waits for its own.

Made by `row` of an array (n, 2, 16); arithmetic, comparisons, select, minimum, maximum and roundings take them too.
"""


def kinds_of(vector: Vector) -> tuple[Vector, Vector, Vector]:
    """The floats, ints and mask with as many lanes."""
    return (floats, ints, mask) if vector.lanes == LANES else WIDE


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Vector) -> None:
        super().__init__(manager, frontend, frontend.llvm)


def constant(kind: Vector, number: float) -> ir.Constant:
    return ir.Constant(kind.llvm, [number] * kind.lanes)


def spread(builder: ir.IRBuilder, scalar: ir.Value, kind: Vector) -> ir.Value:
    undefined = ir.Constant(kind.llvm, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, kind.lanes), [0] * kind.lanes))


def call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
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
            a, b = (v if t is kind else spread(builder, v, kind) for v, t in zip(args, sig.args, strict=True))
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
_define_all(*WIDE)
