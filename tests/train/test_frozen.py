"""Frozen bases: what they decode to, what their products keep for the backward pass, and how NF4 rounds."""

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.quants import decode, encode

torch = pytest.importorskip("torch")

from quantize_cli.train.decoder.weights import Rows  # noqa: E402
from quantize_cli.train.weights.frozen import PackedMatrix, frozen_product  # noqa: E402
from quantize_cli.train.weights.nf4 import Nf4Matrix  # noqa: E402

CPU = torch.device("cpu")
LEVELS = np.float32([
    -1, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0,
    0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1,
])  # fmt: skip
"""The QLoRA paper's appendix E."""


def weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, (rows, columns)).astype(np.float32)


def packed(type_: GgmlType, rows: int = 8, columns: int = 256) -> tuple[PackedMatrix, torch.Tensor]:
    """A matrix of blocks, and what they stand for."""
    blocks = encode(type_, weights(rows, columns))
    tensor: Tensor = from_array("w", weights(rows, columns)).rounded(type_, blocks)
    return PackedMatrix(tensor, CPU), torch.from_numpy(np.array(decode(type_, blocks)))


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.Q2_K, GgmlType.IQ4_XS, GgmlType.BF16, GgmlType.F32])
def test_a_packed_matrix_is_what_its_blocks_stand_for(type_: GgmlType) -> None:
    matrix, expected = packed(type_)
    assert torch.equal(matrix(), expected)
    assert matrix.nbytes == encode(type_, weights(8, 256)).nbytes


def test_a_product_has_the_gradient_of_the_float_one_and_keeps_nothing() -> None:
    matrix, floats = packed(GgmlType.Q4_0)
    x = torch.randn(3, 5, 256, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rows, kept = Rows("w", 2, 4), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        product = frozen_product(matrix, rows, x)
    expected = torch.nn.functional.linear(x, floats[2:6])
    assert torch.allclose(product, expected, atol=1e-6)
    (gradient,) = torch.autograd.grad(product.square().sum(), x)
    (other,) = torch.autograd.grad(expected.square().sum(), x)
    assert torch.allclose(gradient, other, atol=1e-5)
    assert kept == []


def test_autocast_decides_the_type_of_a_product() -> None:
    matrix, floats = packed(GgmlType.Q4_0)
    x = torch.ones(1, 256, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        product = frozen_product(matrix, Rows("w", 0, 8), x)
    assert product.dtype is torch.bfloat16
    product.float().sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad[0], floats.sum(0), atol=0.02)


def test_numbers_that_are_not_finite_are_refused() -> None:
    spoiled = weights(2, 64)
    spoiled[1, 5] = np.inf
    for make in (PackedMatrix, Nf4Matrix):
        with pytest.raises(InputError, match="row 1"):
            make(from_array("w", spoiled), CPU)


def test_nf4_takes_the_nearest_level_of_each_block() -> None:
    floats = weights(64, 256)
    matrix = Nf4Matrix(from_array("w", floats), CPU)
    codes = matrix.codes.numpy()
    chosen = np.stack([codes >> 4, codes & 15], axis=1).reshape(-1, 64)
    blocks = floats.reshape(-1, 64)
    scaled = blocks / np.abs(blocks).max(axis=1, keepdims=True)
    error = np.abs(LEVELS[chosen] - scaled)
    assert (error <= np.abs(LEVELS[:, None, None] - scaled).min(axis=0) + 1e-6).all()


def test_nf4_decodes_level_times_magnitude() -> None:
    floats = weights(64, 256)
    matrix = Nf4Matrix(from_array("w", floats), CPU)
    codes, magnitudes = matrix.codes.numpy(), matrix.magnitudes().numpy()
    chosen = np.stack([codes >> 4, codes & 15], axis=1).reshape(-1, 64)
    np.testing.assert_allclose(matrix().numpy().reshape(-1, 64), LEVELS[chosen] * magnitudes[:, None], atol=1e-8)
    largest = np.abs(floats.reshape(-1, 64)).max(axis=1)
    # Its fractions are a step of 0.9 / 64 apart at the most, of the largest difference from the mean.
    assert np.abs(magnitudes - largest).max() <= 0.9 / 128 * np.abs(largest - largest.mean()).max() * 1.001


def test_nf4_takes_four_bits_and_an_eighth() -> None:
    matrix = Nf4Matrix(from_array("w", weights(256, 512)), CPU)
    assert 8 * matrix.nbytes / (256 * 512) == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=0.001)


@pytest.mark.parametrize("shape", [(7, 50), (1, 3), (100, 333)])
def test_nf4_blocks_run_over_rows(shape: tuple[int, int]) -> None:
    floats = weights(*shape)
    decoded = Nf4Matrix(from_array("w", floats), CPU)().numpy()
    assert decoded.shape == shape
    flat = np.pad(floats.ravel(), (0, -floats.size % 64)).reshape(-1, 64)
    widest = np.diff(LEVELS).max() / 2 + 0.02
    assert (np.abs(decoded - floats).ravel() <= np.repeat(np.abs(flat).max(axis=1) * widest, 64)[: floats.size]).all()


def test_nf4_keeps_zeros() -> None:
    assert not Nf4Matrix(from_array("w", np.zeros((4, 64), np.float32)), CPU)().any()


@pytest.mark.slow
def test_nf4_is_that_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    floats = weights(1000, 640)
    matrix = Nf4Matrix(from_array("w", floats), CPU)
    codes, state = functional.quantize_4bit(torch.from_numpy(floats), compress_statistics=True, quant_type="nf4")
    assert torch.equal(codes.view(-1), matrix.codes)
    # Its processor kernel looks magnitudes up in a table, and takes the farther neighbour of some.
    assert (matrix().numpy() != functional.dequantize_4bit(codes, state).numpy()).mean() < 0.01
