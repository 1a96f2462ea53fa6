"""Rounding through which gradients pass as if it was not there (Bengio et al. 2013)."""

from torch import Tensor


def straight(rounded: Tensor, x: Tensor) -> Tensor:
    """`rounded` in the forward pass, `x` in the backward."""
    return x + (rounded - x).detach()
