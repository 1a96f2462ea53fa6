"""TQ2_0: 256 weights in 66 bytes, 2.0625 bits each; for models trained with weights of -1, 0 and 1.

    byte   0                64   66
           | quarters       | d  |
    d: f16. Quarters: see packing/two_bits.py.

    weight = d * (code - 1)        d = largest magnitude; see shared/ternary.py

Importance changes nothing. Source: block_tq2_0, quantize_row_tq2_0_ref, dequantize_row_tq2_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.packing.fields import Move
from quantize_cli.quants.packing.two_bits import pack_quarters, unpack_quarters
from quantize_cli.quants.shared import ternary

BLOCK = np.dtype([("quarters", "u1", 64), ("scale", "<f2")])


_MOVE = Move(pack_quarters, unpack_quarters, ("code",), ("quarters",))
QUANT = ternary.quant_of(GgmlType.TQ2_0, BLOCK, _MOVE)
