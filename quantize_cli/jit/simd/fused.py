"""a * b + c of float32, rounded once on every processor: sums that decide what is chosen or printed do not differ.

Processors since 2013 have an instruction for it. For others the product is made in float64, where it is exact, and the
sum rounded to odd there, which leaves the second rounding, to float32, as if it had been the only one (Boldo and
Melquiond, Emulation of a FMA and Correctly Rounded Sums, 2008).
"""

import platform

from llvmlite import binding, ir
from numba.core import config

_I64, _DOUBLE = ir.IntType(64), ir.DoubleType()


def is_native() -> bool:
    """Whether the processor that numba compiles for is known to have the instruction.

    A processor named by NUMBA_CPU_NAME is taken to be without.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return platform.machine() in ("arm64", "aarch64") or binding.get_host_cpu_features().get("fma", False)


def emit_fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c of vectors of float32, for whoever writes LLVM's instructions."""
    if is_native():
        name, kind = f"llvm.fma.v{a.type.count}f32", ir.FunctionType(a.type, [a.type] * 3)
        found = builder.module.globals.get(name)
        return builder.call(found if found is not None else ir.Function(builder.module, kind, name), [a, b, c])
    count = a.type.count
    wide = ir.VectorType(_DOUBLE, count)
    x, y, addend = (builder.fpext(value, wide) for value in (a, b, c))
    product = builder.fmul(x, y)
    total = builder.fadd(product, addend)
    return builder.fptrunc(_to_odd(builder, product, addend, total), a.type)


def _to_odd(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
    """The sum of x and y, of which `total` is the nearest: that if exact, else the neighbour whose last bit is set."""
    wide, whole = total.type, ir.VectorType(_I64, total.type.count)
    back = builder.fsub(total, x)
    error = builder.fadd(builder.fsub(x, builder.fsub(total, back)), builder.fsub(y, back))
    zero, one = ir.Constant(wide, [0.0] * wide.count), ir.Constant(whole, [1] * wide.count)
    pattern = builder.bitcast(total, whole)
    is_even = builder.icmp_unsigned("==", builder.and_(pattern, one), ir.Constant(whole, [0] * wide.count))
    is_off = builder.fcmp_ordered("!=", error, zero)  # not of infinities, whose error is NaN
    is_larger = builder.icmp_unsigned(
        "==", builder.fcmp_ordered(">", error, zero), builder.fcmp_ordered(">", total, zero)
    )
    moved = builder.select(is_larger, builder.add(pattern, one), builder.sub(pattern, one))
    chosen = builder.select(builder.and_(is_off, is_even), moved, pattern)
    return builder.bitcast(chosen, wide)
