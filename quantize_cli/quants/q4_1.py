"""Q4_1: 32 weights in 20 bytes, 5 bits each.

    byte   0    2    4                 20
           | d  | m  | 16 x nibbles    |
    d, m: f16. Nibbles: see packing/nibbles.py.

    weight = d * code + m        code in 0..15; see shared/affine.py

Source: block_q4_1, quantize_row_q4_1_ref, quantize_row_q4_1_impl, dequantize_row_q4_1.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.shared import affine

BLOCK = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("nibbles", "u1", 16)])
QUANT = affine.quant_of(GgmlType.Q4_1, BLOCK, top=15)
