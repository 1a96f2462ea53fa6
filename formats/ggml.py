"""Every type a GGUF file may hold, in one table (ggml.h, ggml-common.h)."""

from enum import IntEnum
from typing import NamedTuple

from quantize_cli.formats.errors import FormatError


class BlockShape(NamedTuple):
    """How many consecutive weights of a row one block holds, and in how many bytes."""

    weights: int
    nbytes: int


class GgmlType(IntEnum):
    """Tensor types by the number a GGUF file stores (enum ggml_type), each with the weights and bytes of a block."""

    block: BlockShape

    def __new__(cls, number: int, *block: int) -> "GgmlType":
        type_ = int.__new__(cls, number)
        type_._value_ = number
        type_.block = BlockShape(*block)
        return type_

    F32 = 0, 1, 4
    F16 = 1, 1, 2
    Q4_0 = 2, 32, 18
    Q4_1 = 3, 32, 20
    Q5_0 = 6, 32, 22
    Q5_1 = 7, 32, 24
    Q8_0 = 8, 32, 34
    Q8_1 = 9, 32, 36
    Q2_K = 10, 256, 84
    Q3_K = 11, 256, 110
    Q4_K = 12, 256, 144
    Q5_K = 13, 256, 176
    Q6_K = 14, 256, 210
    Q8_K = 15, 256, 292
    IQ2_XXS = 16, 256, 66
    IQ2_XS = 17, 256, 74
    IQ3_XXS = 18, 256, 98
    IQ1_S = 19, 256, 50
    IQ4_NL = 20, 32, 18
    IQ3_S = 21, 256, 110
    IQ2_S = 22, 256, 82
    IQ4_XS = 23, 256, 136
    I8 = 24, 1, 1
    I16 = 25, 1, 2
    I32 = 26, 1, 4
    I64 = 27, 1, 8
    F64 = 28, 1, 8
    IQ1_M = 29, 256, 56
    BF16 = 30, 1, 2
    TQ1_0 = 34, 256, 54
    TQ2_0 = 35, 256, 66
    MXFP4 = 39, 32, 17
    NVFP4 = 40, 64, 36
    Q1_0 = 41, 128, 18
    Q2_0 = 42, 64, 18


REMOVED_TYPES = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
"""Numbers of types that ggml removed (Q4_2, Q4_3, Q4_0_4_4, IQ4_NL_4_4 and their variants)."""

FLOAT_TYPES = frozenset({GgmlType.F32, GgmlType.F16, GgmlType.BF16})

BLOCK_SHAPE = {type_: type_.block for type_ in GgmlType}

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
