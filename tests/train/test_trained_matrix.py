"""A matrix is trained as a file will hold it: what its forward pass gives is what a decoder makes of its blocks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quantize_cli import quants  # noqa: E402
from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.train.weights.factory import trained_matrix  # noqa: E402
from quantize_cli.train.weights.trained_matrix import Role, TrainedMatrix  # noqa: E402
from tests.train import starts  # noqa: E402

every_type = pytest.mark.parametrize("type_", quants.supported(), ids=lambda t: t.name)
scaled_type = pytest.mark.parametrize("type_", starts.SCALED, ids=lambda t: t.name)


def bits(values: object) -> np.ndarray:
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return np.ascontiguousarray(array, np.float32).view(np.int32)


def assert_holds_what_it_gives(matrix: TrainedMatrix) -> None:
    with torch.no_grad():
        given = bits(matrix())
    assert np.array_equal(given, bits(quants.decode(matrix.type, matrix.blocks())))


def disturb(matrix: TrainedMatrix, steps: int = 3, rate: float = 0.5) -> None:
    """Change all parameters by about `rate` of their unit each time, with and against their gradients."""
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        matrix.zero_grad()
        (matrix() - 0.02 * torch.randn(matrix.shape, generator=random)).square().sum().backward()
        with torch.no_grad():
            for group in matrix.groups():
                for parameter in group.parameters:
                    assert torch.isfinite(parameter.grad).all()
                    noise = torch.randn(parameter.shape, generator=random)
                    parameter -= rate * group.unit * (parameter.grad.sign() + noise)


@every_type
def test_training_starts_from_what_the_file_holds(type_: GgmlType) -> None:
    stored = starts.blocks(type_)
    matrix = trained_matrix(type_, stored, starts.weights(type_, stored))
    assert matrix.shape == (starts.ROWS, starts.COLUMNS)
    with torch.no_grad():
        assert np.array_equal(matrix().numpy(), quants.decode(type_, stored))  # zeros may have another sign
    assert_holds_what_it_gives(matrix)


@every_type
def test_what_was_trained_is_what_a_decoder_makes_of_the_blocks(type_: GgmlType) -> None:
    matrix = starts.matrix(type_)
    before = matrix.blocks()
    disturb(matrix)
    assert not np.array_equal(before, matrix.blocks())
    assert_holds_what_it_gives(matrix)


@scaled_type
def test_frozen_codes_stay_while_scales_learn(type_: GgmlType) -> None:
    matrix = starts.matrix(type_)
    matrix.freeze_codes()
    level = matrix.frozen.clone()
    assert {group.role for group in matrix.groups()} == {Role.SCALES}
    weight, scale = matrix.weight.clone(), matrix.scales.scales.block.clone()
    disturb(matrix)
    assert torch.equal(level, matrix.frozen)
    assert torch.equal(weight, matrix.weight)
    assert not torch.equal(scale, matrix.scales.scales.block)
    assert_holds_what_it_gives(matrix)


@scaled_type
def test_thawed_weights_give_the_codes_there_are(type_: GgmlType) -> None:
    matrix = starts.matrix(type_)
    matrix.freeze_codes()
    disturb(matrix)
    with torch.no_grad():
        before, latent = matrix(), matrix.latent()
        matrix.thaw_codes()
        assert torch.equal(before, matrix())
    assert torch.equal(latent, matrix.latent())
    assert Role.WEIGHTS in {group.role for group in matrix.groups()}


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("type_", [GgmlType.Q2_K, GgmlType.IQ2_XXS, GgmlType.MXFP4], ids=lambda t: t.name)
def test_a_state_is_restored(type_: GgmlType, is_frozen: bool) -> None:
    trained, restored = starts.matrix(type_), starts.matrix(type_, seed=9)
    if is_frozen:
        trained.freeze_codes()
    else:
        restored.freeze_codes()
    if trained.groups():
        disturb(trained)
    restored.load_state_dict(trained.state_dict())
    assert np.array_equal(trained.blocks(), restored.blocks())
    if type_ is not GgmlType.MXFP4:
        assert [group.role for group in trained.groups()] == [group.role for group in restored.groups()]
        assert trained.weight.requires_grad == restored.weight.requires_grad


@scaled_type
def test_zeros_stay_finite(type_: GgmlType) -> None:
    stored = np.zeros_like(starts.blocks(type_))
    matrix = trained_matrix(type_, stored, np.zeros((starts.ROWS, starts.COLUMNS), np.float32))
    disturb(matrix)
    assert torch.isfinite(matrix()).all()
    assert_holds_what_it_gives(matrix)


@scaled_type
def test_scales_beyond_halves_become_the_largest(type_: GgmlType) -> None:
    matrix = starts.matrix(type_)
    with torch.no_grad():
        for parameter in matrix.scales.parameters():
            parameter *= 1e9
            parameter[0] = 1e-9  # and some below the smallest
    out = matrix()
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in matrix.parameters())
    assert_holds_what_it_gives(matrix)


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.IQ4_NL, GgmlType.Q3_K], ids=lambda t: t.name)
def test_a_weight_is_moved_no_more_than_needed(type_: GgmlType) -> None:
    stored, margin = starts.blocks(type_), 0.3
    weights = starts.weights(type_, stored)
    matrix, decoded = trained_matrix(type_, stored, weights, margin), quants.decode(type_, stored)
    latent = matrix.latent().numpy()
    step = np.repeat(matrix.scales()[0].abs().detach().numpy().reshape(len(weights), -1), matrix.group, axis=1)
    gaps = np.diff(matrix.codebook.values.numpy())
    moved = (latent != weights) & (step > 0)
    assert 0 < moved.sum() < moved.size
    assert np.abs(latent - decoded)[moved].max() <= (margin * gaps.max() + 1e-3) * step.max()
    assert (np.abs(latent - decoded)[moved] >= (margin * gaps.min() - 1e-3) * step[moved]).all()


def test_a_step_of_zero_can_grow() -> None:
    """All that a group of zeros lacks is a step; its gradient says so."""
    stored = starts.blocks(GgmlType.Q6_K)
    matrix = trained_matrix(GgmlType.Q6_K, stored, starts.weights(GgmlType.Q6_K, stored))
    group = matrix.scales.scales.group
    with torch.no_grad():
        matrix.scales.scales.block.fill_(0.01)
        group.fill_(0)
        matrix.weight.copy_(torch.randn(matrix.shape))
    (matrix() - matrix.weight.detach()).square().sum().backward()
    assert (group.grad < 0).all()


def fitted(matrix: TrainedMatrix, target: torch.Tensor, rate: float) -> tuple[float, float]:
    """The square error before and after some steps of Adam."""
    optimizer = torch.optim.Adam([{"params": g.parameters, "lr": rate * g.unit} for g in matrix.groups()])
    first = loss = (matrix() - target).square().sum()
    for _ in range(20):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = (matrix() - target).square().sum()
    return first.item(), loss.item()


def drawn(type_: GgmlType) -> tuple[TrainedMatrix, torch.Tensor]:
    """A matrix and the normal weights that it was encoded from."""
    weights = np.random.default_rng(0).normal(size=(starts.ROWS, starts.COLUMNS)).astype(np.float32)
    return trained_matrix(type_, quants.encode(type_, weights), weights), torch.from_numpy(weights)


@pytest.mark.parametrize("type_", [GgmlType.Q4_1, GgmlType.Q6_K, GgmlType.TQ2_0, GgmlType.MXFP4], ids=lambda t: t.name)
def test_training_brings_a_matrix_closer(type_: GgmlType) -> None:
    """To weights that are a fifth larger."""
    matrix, weights = drawn(type_)
    before, after = fitted(matrix, 1.2 * weights, 0.05)
    assert after < 0.8 * before


@pytest.mark.parametrize("type_", [GgmlType.Q2_K, GgmlType.Q3_K, GgmlType.IQ4_NL], ids=lambda t: t.name)
def test_scales_alone_bring_it_closer_with_frozen_codes(type_: GgmlType) -> None:
    matrix, _ = drawn(type_)
    matrix.freeze_codes()
    before, after = fitted(matrix, 1.2 * matrix().detach(), 0.02)
    assert after < 0.6 * before  # of Q2_K, whose scales have sixteen codes each
