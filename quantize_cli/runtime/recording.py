"""A forward pass recorded over a cache."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.recorder import Recorder
from quantize_cli.runtime.rotary_tables import RotaryTable


@dataclass
class Recording:
    """A forward pass recorded over a cache, and where what changes from run to run lies."""

    cache: Cache
    recorder: Recorder
    stream: np.ndarray
    """(sequences * n, width) f32: what layers add to."""
    turns: tuple[RotaryTable, ...]
    """For layers that see everything, and for those with a window; or none."""
    result: np.ndarray
    """Hidden states of all positions, or logits of the last."""
