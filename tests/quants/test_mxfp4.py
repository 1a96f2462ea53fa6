"""MXFP4's exponent is that of C's log2f, which just below a power of two already rounds up to it."""

import numpy as np

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType
from tests import oracle


def test_exponents_around_every_power_of_two_are_those_of_ggml() -> None:
    powers = np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
    steps = np.arange(-64, 3)  # log2f rounds up over at most 44 of them
    patterns = np.clip(powers.view(np.int32)[:, None] + steps, 1, None).astype(np.int32)
    weights = np.repeat(patterns.view(np.float32).reshape(-1, 1), 32, axis=1)
    np.testing.assert_array_equal(
        quants.encode(GgmlType.MXFP4, weights)[:, 0], oracle.quantize(GgmlType.MXFP4, weights)[:, 0]
    )
