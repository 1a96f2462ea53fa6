"""Second-order error feedback inside GGML's own blocks, then coordinate descent on what is left.

Every column is rounded so that it makes up for the errors of those before it (GPTQ, Frantar et al. 2022), with scales
that the reference search finds for what is to be rounded; then codes, scales and minima change one at a time as long
as the output's error falls (QuantEase, Behdin et al. 2023, does so with codes alone).
"""

import numpy as np

from formats.ggml import GgmlType
from quantize_cli.calibrate import _rounding
from quantize_cli.calibrate._inputs import Inputs

_SWEEPS = 2


def round_rows(type_: GgmlType, wanted: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Wanted weights (rows, n) f32 -> rows of a file, (rows, row bytes) u8."""
    if not _rounding.has_codes(type_):
        return _rounding.carried_between_blocks(type_, wanted, inputs)
    parts, error = _rounding.carried(type_, wanted, inputs)
    _rounding.improve(parts, error, inputs.damped, _SWEEPS)
    return _rounding.packed(parts)
