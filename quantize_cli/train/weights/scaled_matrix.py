"""A matrix whose codes are multiplied by scales, trained on the numbers that a file can hold.

    weight = step * level + offset        step = scale * multiple, offset = sign * minimum * minimum_code

Levels are the nearest ones of float weights that are trained. The gradient passes through the rounding as if it was not
there (Bengio et al. 2013). It reaches step and offset as in LSQ (Esser et al. 2020): with x = (weight - offset) / step,
a step is felt as level - x and an offset not at all. Half a level beyond the ends, where a weight is cut off, a step is
felt as the level, an offset as 1, and the weight not at all.

Of a step of zero, levels and gradients are those of the smallest step above it, so that it can grow.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from quantize_cli.train.weights.codebook import Codebook, CodedMatrix
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role, TrainedMatrix, magnitude

MARGIN = 0.3
"""How far from its level a weight may lie at first, where half way to the next is 0.5. With nearly that, the first
updates change many codes back and forth."""
_SMALLEST = 1e-30
"""What a step of zero is taken for; small enough that every weight lies beyond the levels, and no ratio overflows."""


class ScaledMatrix(TrainedMatrix):
    """Float weights, steps and offsets of groups, scales and minima of blocks: all parameters."""

    frozen: Tensor
    """(rows, columns) i8, levels that stay; empty while levels follow the weights."""

    def __init__(self, start: CodedMatrix, weights: np.ndarray, margin: float = MARGIN) -> None:
        """Float weights (rows, columns) f32 are moved to where they give the levels that training starts from."""
        super().__init__()
        rows, columns = start.level.shape
        self.type, self.shape, self.margin = start.type, (rows, columns), margin
        self.codebook, self.scales = start.codebook, start.scales
        self.group = start.level.numel() // len(self.scales()[0])
        self.register_buffer("frozen", torch.empty(0, dtype=torch.int8))
        self.weight = nn.Parameter(torch.from_numpy(np.array(weights, np.float32, order="C").reshape(self.shape)))
        self._move_to(start.level)

    def forward(self) -> Tensor:
        step, offset = self._steps()
        if self.is_frozen:
            out = _Scaled.apply(step, offset, self._grouped(self.frozen))  # type: ignore[no-untyped-call]
        else:
            out = _Rounded.apply(self._grouped(self.weight), step, offset, self.codebook)  # type: ignore[no-untyped-call]
        weights: Tensor = out.view(self.shape)
        return weights

    @torch.no_grad()
    def blocks(self) -> np.ndarray:
        return self.codebook.pack(self.type, self._level().view(self.shape), *self.scales.stored())

    def groups(self) -> tuple[ParameterGroup, ...]:
        with torch.no_grad():
            step = magnitude(self._steps()[0]) * self.codebook.parts
        scales = tuple(
            ParameterGroup((parameter,), Role.SCALES, magnitude(parameter) or step)
            for parameter in self.scales.parameters()
        )
        weights = ParameterGroup((self.weight,), Role.WEIGHTS, step * self.codebook.gap)
        return scales if self.is_frozen else (weights, *scales)

    @torch.no_grad()
    def latent(self) -> Tensor:
        return self._moved_to(self.frozen) if self.is_frozen else self.weight.clone()

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
            self._move_to(level)
            self.weight.requires_grad_(True)

    def _grouped(self, values: Tensor) -> Tensor:
        """Values (rows, columns) as (groups, group)."""
        return values.view(-1, self.group)

    def _steps(self) -> tuple[Tensor, Tensor | None]:
        """What a level is multiplied by and what is added, (groups, 1)."""
        step, offset = self.scales()
        # an eighth of a step is exact
        return (step / self.codebook.parts if self.codebook.parts > 1 else step), offset

    def _level(self) -> Tensor:
        """(groups, group) i8."""
        if self.is_frozen:
            return self._grouped(self.frozen)
        return self.codebook.nearest(_scaled(self._grouped(self.weight), *self._steps()))

    @torch.no_grad()
    def _move_to(self, level: Tensor) -> None:
        self.weight.copy_(self._moved_to(level))

    def _moved_to(self, level: Tensor) -> Tensor:
        """The weights (rows, columns), moved no more than needed to have these levels; not those of a step of zero."""
        step, offset = self._steps()
        weight = self._grouped(self.weight)
        scaled = _scaled(weight, step, offset)
        within = self.codebook.within(scaled, self._grouped(level), self.margin)
        moved = within * step if offset is None else within * step + offset
        return torch.where((step == 0) | (within == scaled), weight, moved).view(self.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Levels are frozen or not as they were when the state was saved."""
        frozen = state_dict.get(f"{prefix}frozen")
        if frozen is not None:
            self.frozen = torch.empty_like(frozen, device=self.frozen.device)
            self.weight.requires_grad_(not self.is_frozen)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _scaled(weight: Tensor, step: Tensor, offset: Tensor | None) -> Tensor:
    """(weight - offset) / step, a new tensor."""
    divisor = torch.where(step == 0, torch.full_like(step, _SMALLEST), step)
    return weight / divisor if offset is None else (weight - offset).div_(divisor)


class _Rounded(torch.autograd.Function):
    """Weights (groups, group) rounded to levels of steps and offsets (groups, 1); keeps a byte of each for later."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, step: Tensor, offset: Tensor | None, codebook: Codebook) -> Tensor:
        level = codebook.nearest(_scaled(weight, step, offset))
        ctx.save_for_backward(weight, step, offset, level)  # type: ignore[arg-type]
        ctx.reach = codebook.reach  # type: ignore[attr-defined]
        return _times(level, step, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        weight, step, offset, level = ctx.saved_tensors  # type: ignore[attr-defined]
        scaled = _scaled(weight, step, offset)
        inside = scaled == scaled.clamp(*ctx.reach)  # type: ignore[attr-defined]
        through = gradient * inside
        of_step = (gradient * level).addcmul_(through, scaled, value=-1).sum(1, keepdim=True)
        of_offset = None if offset is None else (gradient - through).sum(1, keepdim=True)
        return through, of_step, of_offset, None


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
