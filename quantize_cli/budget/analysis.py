"""What a measurement says at a glance: layers, outlier channels, experts, and what each size would lose."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli.budget.frontier import Point, curve
from quantize_cli.budget.options import TypeChoices, type_choices
from quantize_cli.budget.sensitivity import Sensitivities, Sensitivity
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model

OUTLIER = 6.0
"""A channel is one from so many times the median's root mean square on."""
_BITS = (2.5, 2.75, 3.0, 3.25, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True)
class Outliers:
    """Columns of activations that are far larger than the others of a matrix, whose weights matter most."""

    count: int
    largest: float
    """The root mean square of the largest column, as a multiple of the median's."""


def outliers(tensor: Sensitivity) -> Outliers | None:
    """Over all matrices of a tensor that met anything; None if none did."""
    if tensor.inputs is None or not tensor.inputs.counts.any():
        return None
    sizes = np.sqrt(tensor.inputs.squares.sum(axis=0) / tensor.inputs.counts.sum())
    median = float(np.median(sizes))
    ratios = sizes / median if median else np.zeros_like(sizes)
    return Outliers(int((ratios >= OUTLIER).sum()), float(ratios.max()))


def experts(tensor: Sensitivity) -> np.ndarray | None:
    """The share of what a stack was given that each of its matrices met, (matrices,); None for a matrix alone."""
    if tensor.inputs is None or len(tensor.inputs.counts) == 1:
        return None
    shares: np.ndarray = tensor.inputs.counts / max(1, tensor.inputs.counts.sum())
    return shares


def loss(tensor: Sensitivity) -> float:
    """What the model was run for: the largest such loss of the tensor."""
    return max(tensor.losses[type_] for type_ in tensor.run)


def by_layer(measured: Sensitivities) -> dict[int, float]:
    """The sum of the losses of each layer's tensors, by number; -1 for those of none."""
    sums: dict[int, float] = {}
    for tensor in measured.tensors:
        sums[tensor.layer] = sums.get(tensor.layer, 0.0) + loss(tensor)
    return dict(sorted(sums.items()))


def part_of(tensor: Sensitivity) -> str:
    """The name without its layer: `attn_q`."""
    name = tensor.name.removesuffix(".weight")
    return name.split(".", 2)[2] if tensor.layer >= 0 and name.count(".") > 1 else name


@dataclass(frozen=True)
class Frontier:
    """What can be had at which size."""

    best: Sequence[Point]
    uniform: dict[GgmlType, Point]
    """With one type for all tensors, where all may have it."""
    at: dict[float, Point]
    """The best at round numbers of bits per weight."""


def frontier(model: Model, measured: Sensitivities) -> Frontier:
    """Sizes and predicted losses of the files that a model may become."""
    options = type_choices(model, measured.losses)
    best = curve(options)
    weights = sum(prod(tensor.shape) for tensor in model.tensors)
    at: dict[float, Point] = {}
    for bits in _BITS:
        within = [point for point in best if point.nbytes <= options.header_nbytes + bits * weights / 8]
        if within and (within[-1] not in at.values()):
            at[bits] = within[-1]
    return Frontier(best, _uniform(measured, options), at)


def _uniform(measured: Sensitivities, options: TypeChoices) -> dict[GgmlType, Point]:
    shared = set.intersection(*(set(tensor.losses) for tensor in measured.tensors)) if measured.tensors else set()
    points = {
        type_: Point(
            options.fixed_nbytes + sum(tensor.nbytes(type_) for tensor in measured.tensors),
            sum(tensor.losses[type_] for tensor in measured.tensors),
        )
        for type_ in shared
    }
    return dict(sorted(points.items(), key=lambda item: item[1].nbytes))
