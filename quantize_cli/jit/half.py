"""float32 to IEEE half and back, as LLVM instructions for one number or for a vector of them.

Processors with the instructions for it convert in one; LLVM would make others call a function that numba does not
carry, so for them the conversion is spelled out in integers. Both give the same bits.
"""

import platform

from llvmlite import binding, ir
from numba.core import config

_I16, _I32, _FLOAT, _HALF = ir.IntType(16), ir.IntType(32), ir.FloatType(), ir.HalfType()


def is_native() -> bool:
    """Whether the processor that numba compiles for is known to convert halves itself.

    A processor named by NUMBA_CPU_NAME is taken to be unable.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return False
    return platform.machine() in ("arm64", "aarch64") or binding.get_host_cpu_features().get("f16c", False)


def narrow(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """float -> the i16 bits of the nearest half, ties to even."""
    if is_native():
        return builder.bitcast(builder.fptrunc(number, _like(number, _HALF)), _like(number, _I16))
    pattern = builder.bitcast(number, _like(number, _I32))
    sign = builder.and_(pattern, _all(pattern, -0x80000000))
    magnitude = builder.xor(pattern, sign)
    is_large = builder.icmp_unsigned(">=", magnitude, _all(magnitude, 0x47800000))  # 65536
    is_small = builder.icmp_unsigned("<", magnitude, _all(magnitude, 0x38800000))  # 2**-14, the smallest normal half
    found = builder.select(is_small, _subnormal(builder, magnitude), _normal(builder, magnitude))
    is_nan = builder.icmp_unsigned(">", magnitude, _all(magnitude, 0x7F800000))
    beyond = builder.select(is_nan, _all(magnitude, 0x7E00), _all(magnitude, 0x7C00))
    found = builder.or_(builder.select(is_large, beyond, found), builder.lshr(sign, _all(sign, 16)))
    return builder.trunc(found, _like(number, _I16))


def _normal(builder: ir.IRBuilder, magnitude: ir.Value) -> ir.Value:
    """Bits of a half from those of a float, by moving the exponent and rounding thirteen bits off, ties to even."""
    odd = builder.and_(builder.lshr(magnitude, _all(magnitude, 13)), _all(magnitude, 1))
    moved = builder.add(magnitude, _all(magnitude, ((15 - 127) << 23) + 0xFFF))
    return builder.lshr(builder.add(moved, odd), _all(magnitude, 13))


def _subnormal(builder: ir.IRBuilder, magnitude: ir.Value) -> ir.Value:
    """The same below the normal halves: a half's last place is that of a float near 0.5, so adding 0.5 rounds."""
    number = builder.bitcast(magnitude, _like(magnitude, _FLOAT))
    shifted = builder.bitcast(builder.fadd(number, _all(number, 0.5)), magnitude.type)
    return builder.sub(shifted, _all(magnitude, 0x3F000000))


def widen(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """The i16 bits of a half -> float; exact."""
    if is_native():
        return builder.fpext(builder.bitcast(bits, _like(bits, _HALF)), _like(bits, _FLOAT))
    pattern = builder.zext(bits, _like(bits, _I32))
    sign = builder.shl(builder.and_(pattern, _all(pattern, 0x8000)), _all(pattern, 16))
    moved = builder.shl(builder.and_(pattern, _all(pattern, 0x7FFF)), _all(pattern, 13))
    number = builder.bitcast(moved, _like(bits, _FLOAT))
    scaled = builder.fmul(number, _all(number, 2.0**112))  # moves the exponent, of subnormal halves too
    is_finite = builder.fcmp_ordered("<", scaled, _all(scaled, 65536.0))
    found = builder.bitcast(scaled, pattern.type)
    found = builder.select(is_finite, found, builder.or_(found, _all(found, 0x7F800000)))
    return builder.bitcast(builder.or_(found, sign), _like(bits, _FLOAT))


def _like(value: ir.Value, lane: ir.Type) -> ir.Type:
    """The type of `value` with another lane."""
    return ir.VectorType(lane, value.type.count) if isinstance(value.type, ir.VectorType) else lane


def _all(value: ir.Value, number: float) -> ir.Constant:
    """A constant of the type of `value`, the same in every lane."""
    count = value.type.count if isinstance(value.type, ir.VectorType) else None
    return ir.Constant(value.type, number if count is None else [number] * count)
