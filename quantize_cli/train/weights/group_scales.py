"""What groups of weights are multiplied by or have added, as files hold it: a half of a block times a whole number.

    value = half * multiple        multiple = first + apart * code, code = lowest..highest

Both the values of the groups and the halves are trained. The gradient passes through the rounding of either as if it
was not there; where a code is at its end and would go on, the value no longer depends on the group's own.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

_LARGEST_HALF = 65504.0

Stored = tuple[np.ndarray, np.ndarray]
"""Halves (rows, blocks) f32 and codes (rows, groups) i16."""


@dataclass(frozen=True)
class Multiples:
    """The whole numbers that a half may be multiplied by."""

    lowest: int
    """Of the codes."""
    highest: int
    first: int = 0
    """The multiple of code 0."""
    apart: int = 1

    def codes(self, ratio: Tensor) -> Tensor:
        """The codes, as floats, whose multiples are nearest to ratios."""
        return ((ratio - self.first) / self.apart).round_().clamp_(self.lowest, self.highest)

    def reach(self) -> tuple[float, float]:
        """Between which ratios a code is as near as another could be: half a code beyond both ends."""
        return self.first + self.apart * (self.lowest - 0.5), self.first + self.apart * (self.highest + 0.5)


class GroupScales(nn.Module):
    """The scales of a matrix's groups, or their minima: a parameter for the blocks, and one for the groups."""

    def __init__(self, halves: np.ndarray, codes: np.ndarray, multiples: Multiples | None) -> None:
        """Halves (rows, blocks) f32, codes (rows, groups); without `multiples` a block is a group."""
        super().__init__()
        self.multiples = multiples
        self.block = nn.Parameter(torch.from_numpy(halves.astype(np.float32)))
        self.group: nn.Parameter | None = None
        if multiples is not None:
            multiple = multiples.first + multiples.apart * codes.astype(np.float32)
            values = np.repeat(halves, codes.shape[1] // halves.shape[1], axis=1) * multiple
            self.group = nn.Parameter(torch.from_numpy(values.astype(np.float32)))

    def forward(self) -> Tensor:
        """(rows, groups), each what a decoder multiplies."""
        values: Tensor
        if self.group is None or self.multiples is None:
            values = _Half.apply(self.block)  # type: ignore[no-untyped-call]
        else:
            values = _Multiple.apply(self.group, self.block, self.multiples)  # type: ignore[no-untyped-call]
        return values

    @torch.no_grad()
    def stored(self) -> Stored:
        """The halves (rows, blocks) f32 and codes (rows, groups) i16 of a file; codes are ones where there are none."""
        halves = as_halves(self.block)
        if self.group is None or self.multiples is None:
            return halves.cpu().numpy(), np.ones(halves.shape, np.int16)
        codes = self.multiples.codes(_ratio(self.group, halves)).reshape(self.group.shape)
        return halves.cpu().numpy(), codes.cpu().numpy().astype(np.int16)


class AffineScales(nn.Module):
    """Steps and offsets of groups: scales, and minima where a type has them."""

    def __init__(self, scales: GroupScales, minima: GroupScales | None = None, sign: int = 0) -> None:
        """`sign` is that of the minima: 1 where they are added, -1 where they are taken away."""
        super().__init__()
        self.scales, self.minima, self.sign = scales, minima, sign

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """Steps and offsets (groups of all rows, 1), each what a decoder computes with."""
        step = self.scales().view(-1, 1)
        if self.minima is None:
            return step, None
        offset = self.minima().view(-1, 1)
        return step, offset if self.sign > 0 else -offset

    def stored(self) -> tuple[Stored, Stored]:
        """Of the scales and of the minima; zeros with codes of one where there are no minima."""
        scales = self.scales.stored()
        if self.minima is None:
            return scales, (np.zeros_like(scales[0]), np.ones_like(scales[1]))
        return scales, self.minima.stored()


def as_halves(values: Tensor) -> Tensor:
    """The nearest IEEE halves that are finite, in the dtype of the values."""
    return values.clamp(-_LARGEST_HALF, _LARGEST_HALF).to(torch.float16).to(values.dtype)


def _ratio(group: Tensor, halves: Tensor) -> Tensor:
    """Values of groups in units of their block's half, (rows, blocks, groups of a block); of halves of zero, as 1."""
    units = torch.where(halves == 0, torch.ones_like(halves), halves)
    return group.view(*halves.shape, -1) / units[..., None]


class _Half(torch.autograd.Function):
    """Values rounded to halves; beyond the largest half, the result does not depend on the value."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return as_halves(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors  # type: ignore[attr-defined]
        through: Tensor = gradient * (values.abs() <= _LARGEST_HALF)
        return through


class _Multiple(torch.autograd.Function):
    """Values of groups rounded to multiples of their block's half."""

    @staticmethod
    def forward(ctx: FunctionCtx, group: Tensor, block: Tensor, multiples: Multiples) -> Tensor:
        halves = as_halves(block)
        multiple = multiples.codes(_ratio(group, halves)) * multiples.apart + multiples.first
        ctx.save_for_backward(group, block, multiple)
        ctx.multiples = multiples  # type: ignore[attr-defined]
        return (multiple * halves[..., None]).view(group.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        group, block, multiple = ctx.saved_tensors  # type: ignore[attr-defined]
        ratio = _ratio(group, as_halves(block))
        inside = ratio == ratio.clamp(*ctx.multiples.reach())  # type: ignore[attr-defined]
        by_group = gradient.view(ratio.shape)
        through = by_group * inside
        of_block = (by_group * multiple - through * ratio).sum(-1)
        return through.view(group.shape), of_block * (block.abs() <= _LARGEST_HALF), None
