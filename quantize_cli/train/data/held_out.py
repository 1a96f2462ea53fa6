"""Which chunks no step sees."""

import numpy as np

from quantize_cli.errors import InputError, UsageError


def held_out(chunks: int, share: float, seed: int) -> np.ndarray:
    """Which of so many chunks are held out, (chunks,) bool: one from each of as many equal stretches of the text.

    The seed decides which one. UsageError for a share that is not between 0 and 1; InputError when it leaves nothing
    to train on.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} cannot be held out, it must lie between 0 and 1")
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative")
    count = max(1, round(share * chunks))
    if count >= chunks:
        raise InputError(
            f"the data fill {chunks} chunk{'s' * (chunks != 1)}, of which {count} would be held out: "
            "nothing is left to train on",
            hint="use more text, a shorter context, or hold out less",
        )
    bounds = np.arange(count + 1) * chunks // count
    chosen = np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])
    held = np.zeros(chunks, bool)
    held[chosen] = True
    return held
