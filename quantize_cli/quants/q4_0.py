"""Q4_0: 32 weights in 18 bytes, 4.5 bits each.

    byte   0    2                 18
           | d  | 16 x nibbles    |
    d: f16. Nibbles: see packing/nibbles.py.

    weight = d * (code - 8)        code in 0..15; see shared/symmetric.py

Source: block_q4_0, quantize_row_q4_0_ref, quantize_row_q4_0_impl, dequantize_row_q4_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.shared import symmetric

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
QUANT = symmetric.quant_of(GgmlType.Q4_0, BLOCK, limit=8)
