"""Every type a GGUF file may hold, in one table (ggml.h, ggml-common.h)."""

from enum import IntEnum
from typing import NamedTuple

from quantize_cli.formats.errors import FormatError


class GgmlType(IntEnum):
    """Tensor types by the number a GGUF file stores (enum ggml_type)."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41
    Q2_0 = 42


REMOVED_TYPES = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
"""Numbers of types that ggml removed (Q4_2, Q4_3, Q4_0_4_4, IQ4_NL_4_4 and their variants)."""

FLOAT_TYPES = frozenset({GgmlType.F32, GgmlType.F16, GgmlType.BF16})


class BlockShape(NamedTuple):
    """How many consecutive weights of a row one block holds, and in how many bytes."""

    weights: int
    nbytes: int


BLOCK_SHAPE: dict[GgmlType, BlockShape] = {
    GgmlType.F32: BlockShape(1, 4),
    GgmlType.F16: BlockShape(1, 2),
    GgmlType.BF16: BlockShape(1, 2),
    GgmlType.F64: BlockShape(1, 8),
    GgmlType.I8: BlockShape(1, 1),
    GgmlType.I16: BlockShape(1, 2),
    GgmlType.I32: BlockShape(1, 4),
    GgmlType.I64: BlockShape(1, 8),
    GgmlType.Q1_0: BlockShape(128, 18),
    GgmlType.Q2_0: BlockShape(64, 18),
    GgmlType.Q4_0: BlockShape(32, 18),
    GgmlType.Q4_1: BlockShape(32, 20),
    GgmlType.Q5_0: BlockShape(32, 22),
    GgmlType.Q5_1: BlockShape(32, 24),
    GgmlType.Q8_0: BlockShape(32, 34),
    GgmlType.Q8_1: BlockShape(32, 36),
    GgmlType.Q2_K: BlockShape(256, 84),
    GgmlType.Q3_K: BlockShape(256, 110),
    GgmlType.Q4_K: BlockShape(256, 144),
    GgmlType.Q5_K: BlockShape(256, 176),
    GgmlType.Q6_K: BlockShape(256, 210),
    GgmlType.Q8_K: BlockShape(256, 292),
    GgmlType.IQ1_S: BlockShape(256, 50),
    GgmlType.IQ1_M: BlockShape(256, 56),
    GgmlType.IQ2_XXS: BlockShape(256, 66),
    GgmlType.IQ2_XS: BlockShape(256, 74),
    GgmlType.IQ2_S: BlockShape(256, 82),
    GgmlType.IQ3_XXS: BlockShape(256, 98),
    GgmlType.IQ3_S: BlockShape(256, 110),
    GgmlType.IQ4_NL: BlockShape(32, 18),
    GgmlType.IQ4_XS: BlockShape(256, 136),
    GgmlType.TQ1_0: BlockShape(256, 54),
    GgmlType.TQ2_0: BlockShape(256, 66),
    GgmlType.MXFP4: BlockShape(32, 17),
    GgmlType.NVFP4: BlockShape(64, 36),
}

QUANTIZATION_VERSION = 2
"""`general.quantization_version`: the block layouts above (GGML_QNT_VERSION)."""


class FileType(IntEnum):
    """`general.file_type`: the mix a file was made with (enum llama_ftype)."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q8_0 = 7
    Q5_0 = 8
    Q5_1 = 9
    Q2_K = 10
    Q3_K_S = 11
    Q3_K_M = 12
    Q3_K_L = 13
    Q4_K_S = 14
    Q4_K_M = 15
    Q5_K_S = 16
    Q5_K_M = 17
    Q6_K = 18
    IQ2_XXS = 19
    IQ2_XS = 20
    Q2_K_S = 21
    IQ3_XS = 22
    IQ3_XXS = 23
    IQ1_S = 24
    IQ4_NL = 25
    IQ3_S = 26
    IQ3_M = 27
    IQ2_S = 28
    IQ2_M = 29
    IQ4_XS = 30
    IQ1_M = 31
    BF16 = 32
    TQ1_0 = 36
    TQ2_0 = 37
    MXFP4_MOE = 38
    NVFP4 = 39
    Q1_0 = 40
    Q2_0 = 41
    GUESSED = 1024


def row_nbytes(type_: GgmlType, columns: int) -> int:
    """Bytes of one row of `columns` weights; FormatError when they do not fill whole blocks."""
    block = BLOCK_SHAPE[type_]
    if columns % block.weights:
        raise FormatError(f"{columns} columns do not fill {type_.name.lower()} blocks of {block.weights}")
    return columns // block.weights * block.nbytes
