"""Gradients are those of what rounding is taken for, a smooth function: compared with its differences, in float64."""

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.train.weights.group_scales import GroupScales, as_halves  # noqa: E402
from quantize_cli.train.weights.scaled_matrix import ScaledMatrix  # noqa: E402
from quantize_cli.train.weights.straight_through import straight  # noqa: E402
from tests.train import starts  # noqa: E402

APART = 1e-6
CLOSE = 1e-6
"""Relative: differences of a function that is nearly linear, in float64."""


def smooth_scales(scales: GroupScales) -> Callable[[], Tensor]:
    """Halves and codes as they are, which parameters then move as if nothing was rounded; (rows, groups)."""
    block, group = scales.block.detach().clone(), scales.group
    half = as_halves(block)
    if group is None or scales.multiples is None:
        return lambda: half + scales.block - block
    multiples = scales.multiples
    safe = torch.where(half == 0, torch.ones_like(half), half)[..., None]
    ratio = (group.detach() / 1).view(*half.shape, -1) / safe
    multiple = multiples.codes(ratio.clone()) * multiples.apart + multiples.first
    low, high = multiples.reach()
    is_inside = (ratio >= low) & (ratio <= high)

    def values() -> Tensor:
        moved = (half + scales.block - block)[..., None]
        now = group.view(*half.shape, -1) / torch.where(half[..., None] == 0, moved + 1, moved)
        through = multiple + torch.where(is_inside, now - ratio, torch.zeros_like(ratio))
        return (through * moved).view(group.shape)

    return values


def smooth(matrix: ScaledMatrix) -> Callable[[], Tensor]:
    """The matrix with its levels as they are, of which weights within the grid move their own."""
    scales = matrix.scales
    steps, minima = smooth_scales(scales.scales), None if scales.minima is None else smooth_scales(scales.minima)
    parts, sign = matrix.codebook.parts, scales.sign

    def affine() -> tuple[Tensor, Tensor | float]:
        return steps().view(-1, 1) / parts, 0.0 if minima is None else sign * minima().view(-1, 1)

    def scaled() -> Tensor:
        step, offset = affine()
        return (matrix.weight.view(-1, matrix.group) - offset) / torch.where(step == 0, step + 1e-30, step)

    with torch.no_grad():
        start = scaled()
        level = matrix._level().to(torch.float64)
    low, high = matrix.codebook.reach
    is_inside = (start >= low) & (start <= high)
    if matrix.is_frozen:
        is_inside &= False

    def out() -> Tensor:
        step, offset = affine()
        moved = torch.where(is_inside, scaled() - start, torch.zeros_like(start))
        return ((level + moved) * step + offset).view(matrix.shape)

    return out


def assert_gradients(matrix: ScaledMatrix) -> None:
    random = torch.Generator().manual_seed(1)
    surrogate, cost = smooth(matrix), torch.randn(matrix.shape, generator=random, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(matrix(), surrogate())
    (matrix() * cost).sum().backward()
    for group in matrix.groups():
        for parameter in group.parameters:
            way = torch.randn(parameter.shape, generator=random, dtype=torch.float64) * APART * group.unit
            with torch.no_grad():
                parameter += way
                above = surrogate()
                parameter -= 2 * way
                below = surrogate()
                parameter += way
                expected = ((above - below) * cost).sum() / 2
            actual = (parameter.grad * way).sum()
            size = ((above - below) * cost).abs().sum() / 2
            assert abs(actual - expected) <= CLOSE * size


@pytest.mark.parametrize("is_frozen", [False, True], ids=["codes", "frozen"])
@pytest.mark.parametrize("type_", starts.SCALED, ids=lambda t: t.name)
def test_gradients_are_those_of_the_smooth_function(type_: GgmlType, is_frozen: bool) -> None:
    """Some weights lie beyond the grid, some codes are cut off, and none of the halves is zero."""
    matrix = starts.matrix(type_).double()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in filter(None, (matrix.scales.scales, matrix.scales.minima)):
            part.block[part.block == 0] = 0.01
            if part.group is not None:
                part.group += 0.3 * part.block.abs().mean() * torch.randn(part.group.shape, generator=random)
                part.group[:, ::3] *= 3
                part.group[part.group == 0] = 0.001
    if is_frozen:
        matrix.freeze_codes()
    assert_gradients(matrix)


def test_what_the_cases_hold() -> None:
    """The test above sees weights within and beyond the grid, and codes within and beyond theirs."""
    matrix = starts.matrix(GgmlType.Q2_K).double()
    step, offset = matrix.scales()
    scaled = (matrix.weight.view(-1, 16) - offset) / torch.where(step == 0, step + 1, step)
    assert 0.02 < ((scaled < -0.5) | (scaled > 3.5)).double().mean() < 0.9


@pytest.mark.parametrize("kind", ["scale", "minimum"])
def test_beyond_the_grid_a_weight_moves_nothing(kind: str) -> None:
    """Cut off at the highest level h, weight = step * h + offset, whatever the float weight is."""
    matrix = starts.matrix(GgmlType.Q4_1)
    with torch.no_grad():
        matrix.scales.scales.block.fill_(0.5)
        matrix.scales.minima.block.fill_(-1)
        matrix.weight.fill_(100)
    matrix().sum().backward()
    assert not matrix.weight.grad.any()
    part, expected = {"scale": (matrix.scales.scales, 15 * 32), "minimum": (matrix.scales.minima, 32)}[kind]
    assert (part.block.grad == expected).all()


def test_within_the_grid_a_minimum_moves_nothing() -> None:
    """Moved with the offset, codes give the same weight."""
    matrix = starts.matrix(GgmlType.Q4_1)
    with torch.no_grad():
        matrix.scales.scales.block.fill_(0.5)
        matrix.scales.minima.block.fill_(-1)
        matrix.weight.fill_(0.8)
    matrix().sum().backward()
    assert (matrix.weight.grad == 1).all()
    assert not matrix.scales.minima.block.grad.any()
    # x = (0.8 + 1) / 0.5 = 3.6, so each weight feels 4 - 3.6
    assert np.allclose(matrix.scales.scales.block.grad, 32 * (4 - 3.6), rtol=1e-5)


def test_straight_through_is_what_it_says() -> None:
    x = torch.tensor([1e-8, 3.7, -2e9], requires_grad=True)
    rounded = torch.tensor([1.0, 4.0, 1e-3])
    out = straight(rounded, x)
    out.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(out, rounded)
    assert torch.equal(x.grad, torch.tensor([1.0, 2.0, 3.0]))
