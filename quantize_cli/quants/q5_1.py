"""Q5_1: 32 weights in 24 bytes, 6 bits each.

    byte   0    2    4            8                 24
           | d  | m  | fifth bits | 16 x nibbles    |
    d, m: f16. Fifth bits and nibbles: see packing/nibbles.py.

    weight = d * code + m        code in 0..31; see shared/affine.py

Source: block_q5_1, quantize_row_q5_1_ref, quantize_row_q5_1_impl, dequantize_row_q5_1.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.shared import affine

BLOCK = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("fifth_bits", "<u4"), ("nibbles", "u1", 16)])
QUANT = affine.quant_of(GgmlType.Q5_1, BLOCK, top=31)
