"""The points of a lattice: which is nearest to several weights in steps, with what signs.

All points are tried. The scores of a chunk of weights lie in a processor's cache, and the largest is looked for as one
maximum without indices: the number of a point takes the place of the last bits of its score. So of points that are as
near to within a few thousandths of a weight's length, either may be chosen.

Where the product of eight signs is fixed, and that of the weights is another, the weight of least magnitude has the
wrong sign, as in the reference.
"""

import numpy as np
import torch
from torch import Tensor, nn

from quantize_cli.calibration.rounding.vector_codes import RunCodes
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants import Lattice, Signs
from quantize_cli.train.weights.codebook import CodedMatrix
from quantize_cli.train.weights.group_scales import AffineScales, GroupScales, Multiples, Stored

_EIGHTHS = 8
"""Of a step: in these, all that weights may be in any lattice are whole numbers of a byte."""
_UNIT = 8
"""Weights that share a byte of signs."""
_SCORES = 1 << 18
"""Computed at once: 1 MiB."""
_TRIES = (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05)
"""How much of the way from a point to its weights is tried, of the largest that the margin allows."""


class Points(nn.Module):
    """A Codebook of points for 4 or 8 weights at once."""

    parts = _EIGHTHS
    points: Tensor
    """(n, 4 or 8) f32, in eighths; without signs of their own, or all shifted up."""
    all_points: Tensor
    """(n, 4 or 8) i8, in eighths, as a lattice numbers them."""

    def __init__(self, lattice: Lattice) -> None:
        super().__init__()
        self.lattice = lattice
        self.is_signed = lattice.signs is Signs.NONE
        points = lattice.points * np.float32(_EIGHTHS)
        shifts = 2 if self.is_signed else 1
        self.register_buffer("points", torch.from_numpy(points[: len(points) // shifts].copy()), persistent=False)
        self.register_buffer("all_points", torch.from_numpy(points.astype(np.int8)), persistent=False)
        values = np.unique(points[: len(points) // shifts])
        values = values if self.is_signed else np.unique([-values, values])
        self.gap = float(np.diff(values).mean()) / _EIGHTHS
        edge = float(np.abs(points).max()) + self.gap * _EIGHTHS / 2
        self.reach = -edge, edge
        self.together = lattice.group if lattice.choices > 1 else _UNIT
        """Weights whose points are chosen in one."""

    def nearest(self, scaled: Tensor) -> Tensor:
        point, negative = self._choose(scaled)
        level = self.all_points.index_select(0, point.view(-1)).view(-1, _UNIT)
        return (level if negative is None else torch.where(negative, -level, level)).view(scaled.shape)

    def within(self, scaled: Tensor, level: Tensor, margin: float) -> Tensor:
        """As Codebook has it; weights are moved towards their points in a straight line."""
        target = level.reshape(-1, self.together)
        way = scaled.reshape(-1, self.together) - target
        moved = target.to(scaled.dtype)
        left = torch.arange(len(target), device=target.device)
        for share in _TRIES:
            tried = self.nearest(target[left] + way[left] * (share / (2 * margin)))
            same = (tried == target[left]).all(1)
            moved[left[same]] += way[left[same]] * share
            left = left[~same]
        return moved.view(scaled.shape)

    def pack(self, type_: GgmlType, level: Tensor, scales: Stored, minima: Stored) -> np.ndarray:
        rows, columns = level.shape
        point, negative = self._choose(level.to(torch.float32))  # a point is the nearest to itself
        sign = np.zeros((rows, columns // _UNIT), np.uint8)
        if negative is not None:
            sign = np.packbits(negative.cpu().numpy(), axis=1, bitorder="little").reshape(sign.shape)
        numbers = point.view(rows, -1).cpu().numpy().astype(np.int16)
        value = level.to(torch.float32).cpu().numpy() / np.float32(_EIGHTHS)
        return RunCodes(type_, *scales, numbers, sign, value).pack()

    def _choose(self, scaled: Tensor) -> tuple[Tensor, Tensor | None]:
        """The numbers of points (runs,) and, where they have no signs of their own, what is negative (units, 8)."""
        units = scaled.reshape(-1, _UNIT).to(self.points.dtype)
        with torch.autocast(units.device.type, enabled=False):  # whose products would be too rough
            return (self._shifted(units), None) if self.is_signed else self._unsigned(units)

    def _unsigned(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Points of magnitudes, and signs."""
        negative, magnitude = units < 0, units.abs()
        if self.lattice.signs is Signs.EVEN:
            odd = negative.sum(1, keepdim=True) % 2 == 1
            least = magnitude.argmin(1, keepdim=True)
            flipped = torch.zeros_like(negative).scatter_(1, least, odd)
            negative ^= flipped
            magnitude = torch.where(flipped, -magnitude, magnitude)
        runs = magnitude.view(-1, self.points.shape[1])
        bias = self.points.square().sum(1) / -2
        return torch.cat([_largest(torch.addmm(bias, part, self.points.T))[1] for part in self._chunks(runs)]), negative

    def _shifted(self, units: Tensor) -> Tensor:
        """Points shifted up or down, of which a group of weights may have to agree on one kind."""
        up = self.points.square().sum(1) / -2
        down_points = self.points - 2  # an eighth up becomes an eighth down
        down = down_points.square().sum(1) / -2
        chosen = []
        for part in self._chunks(units):
            scores = part @ self.points.T
            score_up, number_up = _largest(scores + up)
            score_down, number_down = _largest(scores.add_(down))
            is_down = score_down - 2 * part.sum(1) > score_up
            if self.lattice.choices > 1:
                gain = (score_down - 2 * part.sum(1) - score_up).view(-1, self.together // _UNIT).sum(1, keepdim=True)
                is_down = (gain > 0).expand(-1, self.together // _UNIT).reshape(-1)
            chosen.append(torch.where(is_down, number_down + len(self.points), number_up))
        return torch.cat(chosen)

    def _chunks(self, runs: Tensor) -> tuple[Tensor, ...]:
        """Parts of runs, each of whole groups."""
        return torch.split(runs, max(self.together, _SCORES // len(self.points)))


def of_codes(codes: RunCodes) -> CodedMatrix:
    """A matrix of a type with a lattice."""
    lattice = codes.lattice
    scales = GroupScales(codes.scale, codes.scale_code, Multiples(*lattice.scale_codes, first=1, apart=2))
    level = torch.from_numpy((codes.value * np.float32(_EIGHTHS)).astype(np.int8))
    return CodedMatrix(codes.type, Points(lattice), AffineScales(scales), level)


def _largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row (rows, n), nearly, and its number i32; n is a power of two. Changes the scores."""
    scores = scores.to(torch.float32)
    last = scores.shape[1] - 1
    numbers = torch.arange(last + 1, dtype=torch.int32, device=scores.device)
    scores.view(torch.int32).bitwise_and_(~last).bitwise_or_(numbers)
    largest = scores.amax(1)
    return largest, largest.view(torch.int32) & last
