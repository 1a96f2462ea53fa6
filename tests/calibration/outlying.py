"""What folding is tried on: decoders some of whose channels carry far more than others, as in large models."""

from pathlib import Path

import numpy as np

from quantize_cli.model.source import Model, open_model
from tests.runtime.synthetic import Decoder, weights, write

SAME = 1e-5
"""Relative to the size of all logits: float32 sums of numbers scaled by factors that are not exact."""


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """How large the difference is beside what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def outlying(folder: Path, decoder: Decoder) -> Model:
    """The decoder with every ninth weight of its norms twelve times as large."""
    made = weights(decoder)
    for name, values in made.items():
        if name.endswith("norm.weight"):
            values[..., ::9] *= 12
    return open_model(write(folder / "model.gguf", decoder, made))
