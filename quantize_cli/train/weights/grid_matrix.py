"""A matrix of a type with a grid, trained on the numbers that a file can hold.

    weight = step * level + offset        step = scale * scale_code, offset = sign * minimum * minimum_code

A level is the nearest one of a float weight that is trained. The gradient passes through the rounding as if it was not
there (Bengio et al. 2013), and reaches step and offset as in LSQ (Esser et al. 2020): within the grid, out is
step * round(x) + offset with x = (weight - offset) / step, so a step is felt as round(x) - x and an offset not at all;
half a level beyond its ends, where a weight is cut off, as the last level and as 1, and the weight not at all.

Of a step of zero, levels and gradients are those of the smallest step above it, so that it can grow.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from quantize_cli.calibration.rounding.level_codes import Codes
from quantize_cli.quants import Grid
from quantize_cli.train.weights.group_scales import GroupScales, Multiples
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role, TrainedMatrix, magnitude

MARGIN = 0.3
"""How far from its level a weight may lie at first, in steps between levels. Near 0.5 the first updates change many
codes back and forth."""
_SMALLEST = 1e-30
"""What a step of zero is taken for; small enough that every weight lies beyond the grid, and no ratio overflows."""


class GridMatrix(TrainedMatrix):
    """Float weights, steps and offsets of groups, scales and minima of blocks: all parameters."""

    frozen: Tensor
    """(rows, columns) i8, levels that stay; empty while levels follow the weights."""
    levels: Tensor
    edges: Tensor

    def __init__(self, codes: Codes, weights: np.ndarray, margin: float = MARGIN) -> None:
        """Training starts from `codes`: float weights (rows, columns) f32 are moved into the cells of their levels."""
        super().__init__()
        grid = self.grid = codes.grid
        rows, columns = codes.level.shape
        self.type, self.shape, self.margin = codes.type, (rows, columns), margin
        self.scales = GroupScales(codes.scale, codes.scale_code, _multiples(grid.scale_codes))
        self.minima: GroupScales | None = None
        if grid.sign:
            self.minima = GroupScales(codes.minimum, codes.minimum_code, _multiples(grid.minimum_codes))
        levels = torch.from_numpy(grid.levels.copy())
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("edges", (levels[1:] + levels[:-1]) / 2, persistent=False)
        self.register_buffer("frozen", torch.empty(0, dtype=torch.int8))
        self.weight = nn.Parameter(torch.from_numpy(np.array(weights, np.float32).reshape(self.shape)))
        level = self.levels[torch.from_numpy(codes.level.astype(np.int64))].view(-1, grid.group)
        self._move_into_cells(level)

    def forward(self) -> Tensor:
        step, offset = self._steps()
        if self.is_frozen:
            out = _Scaled.apply(step, offset, self.frozen.view(-1, self.grid.group))  # type: ignore[no-untyped-call]
        else:
            weight = self.weight.view(-1, self.grid.group)
            out = _Rounded.apply(weight, step, offset, self.levels, self.edges)  # type: ignore[no-untyped-call]
        weights: Tensor = out.view(self.shape)
        return weights

    @torch.no_grad()
    def blocks(self) -> np.ndarray:
        scale, scale_code = self.scales.stored()
        minimum, minimum_code = np.zeros_like(scale), np.ones_like(scale_code)
        if self.minima is not None:
            minimum, minimum_code = self.minima.stored()
        edges = self.edges.to(torch.float32)
        level = torch.bucketize(self._level().view(self.shape).to(torch.float32), edges).cpu().numpy().astype(np.uint8)
        return Codes(self.type, scale, scale_code, minimum, minimum_code, level).pack()

    def groups(self) -> tuple[ParameterGroup, ...]:
        with torch.no_grad():
            unit = magnitude(self._steps()[0])
        parts = [self.scales] if self.minima is None else [self.scales, self.minima]
        scales = tuple(
            ParameterGroup((parameter,), Role.SCALES, magnitude(parameter) or unit)
            for part in parts
            for parameter in part.parameters()
        )
        return scales if self.is_frozen else (ParameterGroup((self.weight,), Role.WEIGHTS, unit), *scales)

    @torch.no_grad()
    def latent(self) -> Tensor:
        return self._within(self.frozen.view(-1, self.grid.group)) if self.is_frozen else self.weight.detach().clone()

    @property
    def is_frozen(self) -> bool:
        return self.frozen.numel() > 0

    @torch.no_grad()
    def freeze_codes(self) -> None:
        if not self.is_frozen:
            self.frozen = self._level().view(self.shape)
            self.weight.requires_grad_(False)

    @torch.no_grad()
    def thaw_codes(self) -> None:
        if self.is_frozen:
            level, self.frozen = self.frozen, self.frozen.new_empty(0)
            self._move_into_cells(level.view(-1, self.grid.group))
            self.weight.requires_grad_(True)

    def _steps(self) -> tuple[Tensor, Tensor | None]:
        """Steps and offsets (groups of all rows, 1)."""
        step = self.scales().view(-1, 1)
        if self.minima is None:
            return step, None
        offset = self.minima().view(-1, 1)
        return step, offset if self.grid.sign > 0 else -offset

    def _level(self) -> Tensor:
        """(groups of all rows, group) i8."""
        if self.is_frozen:
            return self.frozen.view(-1, self.grid.group)
        step, offset = self._steps()
        scaled = _scaled(self.weight.view(-1, self.grid.group), step, offset)
        return _nearest(scaled, self.levels, self.edges)

    @torch.no_grad()
    def _move_into_cells(self, level: Tensor) -> None:
        self.weight.copy_(self._within(level))

    def _within(self, level: Tensor) -> Tensor:
        """The weights (rows, columns), moved no more than needed to be rounded to levels (groups of all rows, group).

        Below the lowest and above the highest level they are where they are, and so are those whose step is zero.
        """
        step, offset = self._steps()
        scaled = _scaled(self.weight.view(-1, self.grid.group), step, offset)
        gaps = self.margin * (self.levels[1:] - self.levels[:-1])
        free = gaps.new_full((1,), torch.inf)
        number = torch.bucketize(level.to(self.edges.dtype), self.edges)
        below, above = torch.cat([free, gaps])[number], torch.cat([gaps, free])[number]
        nearest = scaled.clamp(level - below, level + above)
        moved = nearest * step
        if offset is not None:
            moved = moved + offset
        weight = self.weight.view(moved.shape)
        return torch.where((step == 0) | (nearest == scaled), weight, moved).view(self.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Levels are frozen or not as they were when the state was saved."""
        frozen = state_dict.get(f"{prefix}frozen")
        if frozen is not None:
            self.frozen = torch.empty_like(frozen, device=self.frozen.device)
            self.weight.requires_grad_(not self.is_frozen)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[arg-type]


def _multiples(codes: tuple[int, int] | None) -> Multiples | None:
    return None if codes is None else Multiples(*codes)


def _scaled(weight: Tensor, step: Tensor, offset: Tensor | None) -> Tensor:
    """(weight - offset) / step, a new tensor."""
    divisor = torch.where(step == 0, torch.full_like(step, _SMALLEST), step)
    return weight / divisor if offset is None else (weight - offset).div_(divisor)


def _nearest(scaled: Tensor, levels: Tensor, edges: Tensor) -> Tensor:
    """The nearest levels, i8; all the levels of all types are whole numbers of a byte. May change what it is given."""
    low, high = float(levels[0]), float(levels[-1])
    if len(levels) == int(high - low) + 1:
        return scaled.clamp_(low, high).round_().to(torch.int8)
    return levels.to(torch.int8)[torch.bucketize(scaled, edges)]


def _reach(levels: Tensor) -> tuple[float, float]:
    """Between which scaled weights nothing is cut off: half a level beyond both ends."""
    return float(1.5 * levels[0] - 0.5 * levels[1]), float(1.5 * levels[-1] - 0.5 * levels[-2])


class _Rounded(torch.autograd.Function):
    """Weights (groups, group) rounded to levels of steps and offsets (groups, 1); keeps a byte of each for later."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, weight: Tensor, step: Tensor, offset: Tensor | None, levels: Tensor, edges: Tensor
    ) -> Tensor:
        level = _nearest(_scaled(weight, step, offset), levels, edges)
        ctx.save_for_backward(weight, step, offset, level)
        ctx.reach = _reach(levels)  # type: ignore[attr-defined]
        return _times(level, step, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        weight, step, offset, level = ctx.saved_tensors  # type: ignore[attr-defined]
        scaled = _scaled(weight, step, offset)
        inside = scaled == scaled.clamp(*ctx.reach)  # type: ignore[attr-defined]
        through = gradient * inside
        of_step = (gradient * level).addcmul_(through, scaled, value=-1).sum(1, keepdim=True)
        of_offset = None if offset is None else (gradient - through).sum(1, keepdim=True)
        return through, of_step, of_offset, None, None


class _Scaled(torch.autograd.Function):
    """Levels (groups, group) that stay, of steps and offsets (groups, 1)."""

    @staticmethod
    def forward(ctx: FunctionCtx, step: Tensor, offset: Tensor | None, level: Tensor) -> Tensor:
        ctx.save_for_backward(level)
        ctx.has_offset = offset is not None  # type: ignore[attr-defined]
        return _times(level, step, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (level,) = ctx.saved_tensors  # type: ignore[attr-defined]
        of_offset = gradient.sum(1, keepdim=True) if ctx.has_offset else None  # type: ignore[attr-defined]
        return (gradient * level).sum(1, keepdim=True), of_offset, None


def _times(level: Tensor, step: Tensor, offset: Tensor | None) -> Tensor:
    """Multiplied, then added, each rounded, as decoders do."""
    out = level * step
    return out if offset is None else out.add_(offset)
