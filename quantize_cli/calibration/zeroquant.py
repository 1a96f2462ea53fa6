"""Plain rounding, whose scales and minima are then fitted to what the float model's layer gives, codes left alone.

A least-squares problem for each block: layer by layer, the output of the rounded matrix on the inputs that the rounded
layers before it really give is drawn to the output of the float one (after ZeroQuant's layer-by-layer distillation, Yao
et al. 2022, without its training).
"""

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.calibration.rounding.descent import SCALE_CODES, SCALES
from quantize_cli.calibration.runner.method import Method
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.formats.ggml import GgmlType

_SWEEPS = 3


def round_rows(type_: GgmlType, weights: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Weights (rows, n) f32 -> rows of a file, (rows, row bytes) u8; as the reference does without a grid."""
    if not windows.has_codes(type_):
        return quants.encode(type_, weights, inputs.diagonal)
    parts, error = windows.without_feedback(type_, weights, inputs.diagonal)
    windows.improve(parts, error, inputs.damped, _SWEEPS, SCALES | SCALE_CODES)
    return windows.pack_windows(parts)


METHOD = Method(round_rows=round_rows)
