"""How learning rates rise and fall over a phase."""

from math import cos, pi

_WARM_UP = 0.05
"""Share of the steps in which rates rise: AdamW's second moments are estimates of a few steps then."""


def factor(step: int, steps: int) -> float:
    """What the highest rate is multiplied by in a step, from 0 on: up in a straight line, then a cosine to zero.

    The last step still has a rate above zero (Loshchilov & Hutter 2017, without restarts).
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + cos(pi * (step - rising + 1) / (steps - rising + 1)))
