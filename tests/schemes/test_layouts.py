"""The layouts that no library here writes, and the values that files must not have: by slow twins of the formulas."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.loadable_tensors import takes_scale
from quantize_cli.model.source import open_model
from quantize_cli.quants import decode
from tests.formats.build import safetensors_bytes
from tests.schemes import naive
from tests.schemes.quantized import COLUMNS, MODULE, ROWS, build, matrix, opened, read_in_parts

E4M3, E5M2, BF16 = (np.dtype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2", "bfloat16"))
RANDOM = np.random.RandomState(15)
NIBBLES = RANDOM.randint(0, 256, (ROWS, COLUMNS // 2)).astype(np.uint8)
EXPONENTS = RANDOM.randint(110, 135, (ROWS, COLUMNS // 32)).astype(np.uint8)
SMALL_SCALES = RANDOM.uniform(0.5, 400, (ROWS, COLUMNS // 16)).astype(E4M3)
OUTER = np.float32(0.00123)
FLOATS = RANDOM.uniform(-448, 448, (ROWS, COLUMNS)).astype(E4M3)


def floats_of_4_bits(scale: Any) -> np.ndarray:
    """The weights of NIBBLES under scale(row, column)."""
    weights = np.empty((ROWS, COLUMNS), np.float32)
    for row in range(ROWS):
        for column in range(COLUMNS):
            byte = int(NIBBLES[row, column // 2])
            code = byte >> 4 if column % 2 else byte & 15
            weights[row, column] = np.float32(naive.e2m1(code)) * scale(row, column)
    return weights


def nvfp4(row: int, column: int) -> np.float32:
    return np.float32(SMALL_SCALES[row, column // 16]) * OUTER


def mxfp4(row: int, column: int) -> np.float32:
    return np.float32(2.0 ** (int(EXPONENTS[row, column // 32]) - 127))


@pytest.mark.parametrize(("method", "ending"), [("nvfp4", ".weight"), ("nvfp4", ".weight_packed"), (None, ".weight")])
def test_nvfp4_by_itself(method: str | None, ending: str, tmp_path: Path) -> None:
    parts = {ending: NIBBLES, ".weight_scale": SMALL_SCALES, ".weight_scale_2": OUTER}
    tensor = opened(tmp_path, parts, {"quant_method": method} if method else None)
    assert np.array_equal(read_in_parts(tensor), floats_of_4_bits(nvfp4))


def test_nvfp4_with_the_reciprocal(tmp_path: Path) -> None:
    parts = {".weight_packed": NIBBLES, ".weight_scale": SMALL_SCALES, ".weight_global_scale": np.float32([700])}
    tensor = opened(tmp_path, parts, None)

    def scale(row: int, column: int) -> np.float32:
        return np.float32(SMALL_SCALES[row, column // 16]) / np.float32(700)

    assert np.array_equal(read_in_parts(tensor), floats_of_4_bits(scale))


@pytest.mark.parametrize("method", ["mxfp4", None])
def test_mxfp4_of_one_matrix(method: str | None, tmp_path: Path) -> None:
    blocks = NIBBLES.reshape(ROWS, -1, 16)
    parts = {".weight_blocks": blocks, ".weight_scales": EXPONENTS}
    tensor = opened(tmp_path, parts, {"quant_method": method} if method else None)
    assert np.array_equal(read_in_parts(tensor), floats_of_4_bits(mxfp4))


def test_mxfp4_as_it_is_in_pairs(tmp_path: Path) -> None:
    tensor = opened(tmp_path, {".weight": NIBBLES, ".weight_scale": EXPONENTS}, {"quant_method": "mxfp4"})
    assert np.array_equal(read_in_parts(tensor), floats_of_4_bits(mxfp4))
    assert tensor.repacking(GgmlType.MXFP4) == "without loss"
    stored = tensor.repacked(GgmlType.MXFP4).read(3, 9)
    assert np.array_equal(decode(GgmlType.MXFP4, stored), floats_of_4_bits(mxfp4)[3:9])


def test_an_exponent_that_is_no_number_is_not_repacked(tmp_path: Path) -> None:
    exponents = EXPONENTS.copy()
    exponents[5, 1] = 255
    tensor = opened(tmp_path, {".weight": NIBBLES, ".weight_scale": exponents}, {"quant_method": "mxfp4"})
    assert tensor.repacking(GgmlType.MXFP4) == ""
    assert not np.isfinite(tensor.read(5, 6)).all()


@pytest.mark.parametrize(
    ("beside", "value", "factor"),
    [(".weight_scale_2", OUTER, OUTER), (".weight_global_scale", np.float32([700]), np.float32(1) / np.float32(700))],
)
def test_nvfp4_is_repacked_with_its_scale_beside(
    beside: str, value: np.ndarray, factor: np.float32, tmp_path: Path
) -> None:
    parts = {".weight": NIBBLES, ".weight_scale": SMALL_SCALES, beside: value}
    tensor = opened(tmp_path, parts, {"quant_method": "nvfp4"})
    assert tensor.repacking(GgmlType.NVFP4) == "with the scale of the matrix beside it"
    scale = tensor.scale_beside(GgmlType.NVFP4)
    assert scale is not None
    assert (scale.name, scale.shape, scale.read(0, 1)[0, 0]) == ("blk.0.ffn_up.scale", (1,), factor)
    weights = decode(GgmlType.NVFP4, tensor.repacked(GgmlType.NVFP4).read(0, ROWS))
    expected = floats_of_4_bits(lambda row, column: np.float32(SMALL_SCALES[row, column // 16]))
    assert np.array_equal(weights, expected)


def test_negative_scales_are_not_repacked(tmp_path: Path) -> None:
    scales = SMALL_SCALES.copy()
    scales[3, 1] = -1
    parts = {".weight": NIBBLES, ".weight_scale": scales, ".weight_scale_2": OUTER}
    assert opened(tmp_path, parts, {"quant_method": "nvfp4"}).repacking(GgmlType.NVFP4) == ""


@pytest.mark.parametrize(
    ("architecture", "name", "takes"),
    [
        ("llama", "blk.3.ffn_up.weight", True),
        ("qwen2", "blk.3.ffn_up.weight", False),
        ("qwen2", "blk.3.attn_q.weight", True),
        ("llama", "token_embd.weight", False),
        ("llama", "output.weight", True),
    ],
)
def test_scales_stand_where_llama_cpp_multiplies_by_them(architecture: str, name: str, takes: bool) -> None:
    assert takes_scale(architecture, name) is takes


@pytest.mark.parametrize("dtype", [E4M3, E5M2])
@pytest.mark.parametrize("scale", [np.float32(0.01), np.float32([0.01]), np.full((1, 1), 0.01, np.float32)])
@pytest.mark.parametrize("ending", [".weight_scale_inv", ".weight_scale", ".scale"])
def test_fp8_under_one_scale(dtype: np.dtype, scale: np.ndarray, ending: str, tmp_path: Path) -> None:
    codes = FLOATS.astype(np.float32).astype(dtype)
    tensor = opened(tmp_path, {".weight": codes, ending: scale}, {"quant_method": "fp8"})
    assert np.array_equal(read_in_parts(tensor), codes.astype(np.float32) * np.float32(0.01))


def test_fp8_as_mistral_writes_it(tmp_path: Path) -> None:
    parts = {".weight": FLOATS, ".qscale_weight": np.float32(0.02), ".qscale_act": np.float32(3)}
    tensor = opened(tmp_path, parts, {"quant_method": "fp8"})
    assert np.array_equal(read_in_parts(tensor), FLOATS.astype(np.float32) * np.float32(0.02))


@pytest.mark.parametrize("scales", [BF16, np.dtype(np.float32), np.dtype(np.uint8)])
def test_blocks_of_fp8_are_cut_at_the_edges(scales: np.dtype, tmp_path: Path) -> None:
    height, width = 40, 24
    grid = RANDOM.randint(120, 130, (3, 3)).astype(scales)
    parts = {".weight": FLOATS, ".weight_scale_inv": grid}
    tensor = opened(tmp_path, parts, {"quant_method": "fp8", "weight_block_size": [height, width]})
    expected = np.empty((ROWS, COLUMNS), np.float32)
    for row in range(ROWS):
        for column in range(COLUMNS):
            scale = grid[row // height, column // width]
            factor = 2.0 ** (int(scale) - 127) if scales == np.uint8 else scale
            expected[row, column] = np.float32(FLOATS[row, column]) * np.float32(factor)
    assert np.array_equal(read_in_parts(tensor), expected)


def test_exponents_have_a_dtype_of_their_own(tmp_path: Path) -> None:
    grid = RANDOM.randint(120, 130, (3, 2)).astype(np.uint8)
    parts = {".weight": FLOATS, ".scale": grid}
    directory = build(tmp_path, parts, {"quant_method": "fp8", "weight_block_size": [32, 32]})
    path = directory / "model.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header, data = json.loads(path.read_bytes()[8 : 8 + length]), path.read_bytes()[8 + length :]
    header[f"{MODULE}.scale"]["dtype"] = "F8_E8M0"
    path.write_bytes(safetensors_bytes(header, data))
    factors = np.exp2(grid.astype(np.float32) - 127).repeat(32, axis=0).repeat(32, axis=1)
    tensor = matrix(open_model(directory))
    assert np.array_equal(read_in_parts(tensor), FLOATS.astype(np.float32) * factors)


def test_a_grid_with_as_many_scales_as_rows_is_a_grid(tmp_path: Path) -> None:
    grid = RANDOM.uniform(0.1, 1, (12, 8)).astype(np.float32)  # 96 scales for 96 rows
    parts = {".weight": FLOATS, ".weight_scale_inv": grid}
    tensor = opened(tmp_path, parts, {"quant_method": "fp8", "weight_block_size": [8, 8]})
    expected = FLOATS.astype(np.float32) * grid.repeat(8, axis=0).repeat(8, axis=1)
    assert np.array_equal(read_in_parts(tensor), expected)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("asymmetric", [False, True])
def test_codes_of_every_width(bits: int, asymmetric: bool, tmp_path: Path) -> None:
    codes = RANDOM.randint(0, 1 << bits, (COLUMNS, ROWS))
    zeros = RANDOM.randint(0, 1 << bits, (2, ROWS)) if asymmetric else np.full((2, ROWS), 1 << (bits - 1))
    scales = RANDOM.uniform(0.01, 0.1, (2, ROWS)).astype(np.float16)
    parts = {
        ".weight_packed": naive.packed_across(codes.T, bits),
        ".weight_scale": scales.T,
        ".weight_shape": np.array([ROWS, COLUMNS]),
    }
    if asymmetric:
        parts[".weight_zero_point"] = naive.packed_down(zeros.T, bits)
    tensor = opened(tmp_path, parts, packed(bits))
    assert tensor.scheme == f"compressed-tensors, {bits} bits"
    assert np.array_equal(read_in_parts(tensor), naive.affine(codes, zeros, scales, lambda i: i // 32))


def test_columns_in_an_order_of_their_own(tmp_path: Path) -> None:
    codes = RANDOM.randint(0, 16, (COLUMNS, ROWS))
    scales = RANDOM.uniform(0.01, 0.1, (2, ROWS)).astype(np.float16)
    order = RANDOM.permutation(np.arange(COLUMNS) // 32).astype(np.int32)
    parts = {
        ".weight_packed": naive.packed_across(codes.T, 4),
        ".weight_scale": scales.T,
        ".weight_shape": np.array([ROWS, COLUMNS]),
        ".weight_g_idx": order,
    }
    tensor = opened(tmp_path, parts, packed(4))
    zeros = np.full((2, ROWS), 8)
    assert np.array_equal(read_in_parts(tensor), naive.affine(codes, zeros, scales, lambda i: int(order[i])))
    assert tensor.repacking(GgmlType.Q4_0) == ""


def test_zero_points_of_old_files_are_not_packed(tmp_path: Path) -> None:
    codes, zeros = RANDOM.randint(0, 16, (COLUMNS, ROWS)), RANDOM.randint(0, 16, (2, ROWS))
    scales = RANDOM.uniform(0.01, 0.1, (2, ROWS)).astype(np.float16)
    parts = {
        ".weight_packed": naive.packed_across(codes.T, 4),
        ".weight_scale": scales.T,
        ".weight_shape": np.array([ROWS, COLUMNS]),
        ".weight_zero_point": (zeros.T - 8).astype(np.int8),
    }
    tensor = opened(tmp_path, parts, packed(4))
    assert np.array_equal(read_in_parts(tensor), naive.affine(codes, zeros, scales, lambda i: i // 32))


def packed(bits: int, **more: Any) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": 32}
    group = {"targets": ["Linear"], "weights": weights, "format": "pack-quantized"}
    return {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": group}, **more,
    }  # fmt: skip


def test_scales_of_activations_and_caches_are_left_out(tmp_path: Path) -> None:
    parts = {".weight": FLOATS, ".weight_scale": np.float32(0.02), ".input_scale": np.float32(3)}
    directory = build(tmp_path, parts, {"quant_method": "modelopt", "quant_algo": "FP8"})
    names = [tensor.name for tensor in open_model(directory).tensors]
    assert not [name for name in names if "scale" in name]
    assert matrix(open_model(directory)).scheme == "modelopt, fp8"


def test_a_float_beside_scales_is_refused(tmp_path: Path) -> None:
    parts = {".weight": FLOATS.astype(np.float32), ".weight_scale": np.float32(0.02)}
    with pytest.raises(InputError, match=r"has dtype F32, but '\.weight_scale' stand beside it"):
        opened(tmp_path, parts, {"quant_method": "fp8"})
