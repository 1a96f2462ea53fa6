"""Second-order error feedback inside GGML's own blocks, then coordinate descent on what is left.

Every column is rounded so that it makes up for the errors of those before it (GPTQ, Frantar et al. 2022), with scales
that the reference search finds for what is to be rounded; then codes, scales and minima change one at a time as long
as the output's error falls (QuantEase, Behdin et al. 2023, does so with codes alone).
"""

import numpy as np

from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.runner.method import Method
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.formats.ggml import GgmlType

_SWEEPS = 2


def round_rows(type_: GgmlType, weights: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Weights (rows, n) f32 -> rows of a file, (rows, row bytes) u8."""
    if not windows.has_codes(type_):
        return windows.carried_between_blocks(type_, weights, inputs)
    parts, error = windows.with_feedback(type_, weights, inputs)
    windows.improve(parts, error, inputs.damped, _SWEEPS)
    return windows.pack_windows(parts)


METHOD = Method(round_rows=round_rows)
