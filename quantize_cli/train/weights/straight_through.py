"""Rounding through which gradients pass as if it was not there (Bengio et al. 2013)."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _Straight(torch.autograd.Function):
    """Not x + (rounded - x), which is not always `rounded` in floats."""

    @staticmethod
    def forward(ctx: FunctionCtx, rounded: Tensor, x: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def straight(rounded: Tensor, x: Tensor) -> Tensor:
    """`rounded` in the forward pass, `x` in the backward."""
    out: Tensor = _Straight.apply(rounded.detach(), x)  # type: ignore[no-untyped-call]
    return out
