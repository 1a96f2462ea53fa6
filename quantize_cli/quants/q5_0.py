"""Q5_0: 32 weights in 22 bytes, 5.5 bits each.

    byte   0    2            6                 22
           | d  | fifth bits | 16 x nibbles    |
    d: f16. Fifth bits and nibbles: see packing/nibbles.py.

    weight = d * (code - 16)        code in 0..31; see shared/symmetric.py

Source: block_q5_0, quantize_row_q5_0_ref, quantize_row_q5_0_impl, dequantize_row_q5_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.shared import symmetric

BLOCK = np.dtype([("scale", "<f2"), ("fifth_bits", "<u4"), ("nibbles", "u1", 16)])
QUANT = symmetric.quant_of(GgmlType.Q5_0, BLOCK, limit=16)
