"""What numbers mean: one file per GGML type, each with one `QUANT`.

`encode` and `decode` go all the way between float32 weights and the bytes of a file, for any type by its number.
"""

from quantize_cli.quants.interface.finite import first_not_finite, is_beyond, trouble
from quantize_cli.quants.interface.grid import Grid, Lattice, Signs, with_parity_sign
from quantize_cli.quants.interface.type import (
    QuantType,
    codes_dtype,
    compile_kernels,
    decode,
    encode,
    find,
    refuse_without,
    supported,
    unpacked,
)

__all__ = [
    "Grid", "Lattice", "QuantType", "Signs", "codes_dtype", "compile_kernels", "decode", "encode", "find",
    "first_not_finite", "is_beyond", "refuse_without", "supported", "trouble", "unpacked",
    "with_parity_sign",
]  # fmt: skip
