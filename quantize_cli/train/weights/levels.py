"""The levels of a grid: which is nearest to a weight in steps, and how far a weight may lie from it."""

import numpy as np
import torch
from torch import Tensor, nn

from quantize_cli.calibration.rounding.level_codes import Codes
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.train.weights.codebook import CodedMatrix
from quantize_cli.train.weights.group_scales import AffineScales, GroupScales, Multiples, Stored

_HALVES = 2
"""Levels of all types are whole numbers of a byte, so that their midpoints are whole or lie halfway between those."""


class Levels(nn.Module):
    """A Codebook of levels (n,), ascending."""

    parts = 1
    values: Tensor
    table: Tensor
    """i8, the nearest level to each half of a whole number between the ends; empty where levels are even."""

    def __init__(self, levels: np.ndarray) -> None:
        super().__init__()
        values = torch.from_numpy(levels.astype(np.float32))
        self.low, self.high = int(levels[0]), int(levels[-1])
        table = torch.empty(0, dtype=torch.int8)
        if len(levels) <= self.high - self.low:
            halves = torch.arange(_HALVES * self.low, _HALVES * self.high + 1) / _HALVES
            table = values[torch.bucketize(halves, (values[1:] + values[:-1]) / 2)].to(torch.int8)
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("table", table, persistent=False)
        self.reach = float(1.5 * levels[0] - 0.5 * levels[1]), float(1.5 * levels[-1] - 0.5 * levels[-2])
        self.gap = (self.high - self.low) / (len(levels) - 1)

    def nearest(self, scaled: Tensor) -> Tensor:
        if not self.table.numel():
            return scaled.clamp_(self.low, self.high).round_().to(torch.int8)
        # between two halves all weights have the same nearest level, the table's of the upper one
        number = scaled.clamp_(self.low, self.high).mul_(_HALVES).ceil_().sub_(_HALVES * self.low)
        return self.table.index_select(0, number.to(torch.int32).view(-1)).view(scaled.shape)

    def within(self, scaled: Tensor, level: Tensor, margin: float) -> Tensor:
        """As Codebook has it; below the lowest level and above the highest, weights are where they are."""
        gaps = margin * (self.values[1:] - self.values[:-1])
        free = gaps.new_full((1,), torch.inf)
        number = self._numbers(level)
        return scaled.clamp(level - torch.cat([free, gaps])[number], level + torch.cat([gaps, free])[number])

    def pack(self, type_: GgmlType, level: Tensor, scales: Stored, minima: Stored) -> np.ndarray:
        number = self._numbers(level).cpu().numpy().astype(np.uint8)
        (scale, scale_code), (minimum, minimum_code) = scales, minima
        return Codes(type_, scale, scale_code, minimum, minimum_code, number).pack()

    def _numbers(self, level: Tensor) -> Tensor:
        """Which of the levels each is."""
        return torch.bucketize(level.to(torch.float32), self.values)


def of_codes(codes: Codes) -> CodedMatrix:
    """A matrix of a type with a grid."""
    grid = codes.grid
    scales = GroupScales(codes.scale, codes.scale_code, _multiples(grid.scale_codes))
    minima = GroupScales(codes.minimum, codes.minimum_code, _multiples(grid.minimum_codes)) if grid.sign else None
    level = torch.from_numpy(grid.levels[codes.level].astype(np.int8))
    return CodedMatrix(codes.type, Levels(grid.levels), AffineScales(scales, minima, grid.sign), level)


def _multiples(codes: tuple[int, int] | None) -> Multiples | None:
    return None if codes is None else Multiples(*codes)
