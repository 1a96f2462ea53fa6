"""HQQ: every packing, both axes, and what is refused."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from tests.schemes.quantized import COLUMNS, ROWS, Stored, opened, read_in_parts

SETTINGS = {"quant_method": "hqq"}
PACKINGS = {"8bit_u8": (8, 1), "4bit_u8": (4, 2), "3bit_32": (3, 10), "2bit_u8": (2, 4), "1bit_u8": (1, 8)}


def packed(codes: np.ndarray, bits: int, parts: int) -> np.ndarray:
    """Rows of codes in parts above each other, the first in the highest bits."""
    height = -(-len(codes) // parts)
    whole = np.zeros((height * parts, codes.shape[1]), np.int64)
    whole[: len(codes)] = codes
    words = np.zeros((height, codes.shape[1]), np.int64)
    for part in range(parts):
        words |= whole[part * height : (part + 1) * height] << bits * (parts - 1 - part)
    return words.astype(np.int32 if parts == 10 else np.uint8)


def hqq(packing: str, axis: int, group: int, dtype: Any = np.float16, whole_zeros: bool = False) -> Stored:
    random = np.random.RandomState(group)
    bits, parts = PACKINGS[packing]
    groups = ROWS * COLUMNS // group
    codes = random.randint(0, 1 << bits, (groups, group) if axis else (group, groups))
    numbers = (groups, 1) if axis else (1, groups)
    scales = random.uniform(0.01, 0.1, numbers).astype(dtype)
    zeros = random.uniform(0, (1 << bits) - 1, numbers)
    zeros = (np.rint(zeros) if whole_zeros else zeros).astype(dtype)
    weights = np.empty(codes.shape, np.float32)
    for row in range(codes.shape[0]):
        for column in range(codes.shape[1]):
            at = (row, 0) if axis else (0, column)
            difference = np.float32(codes[row, column]) - np.float32(zeros[at])
            weights[row, column] = difference * np.float32(scales[at])
    stored = {
        ".W_q": packed(codes, bits, parts), ".scale": scales, ".zero": zeros, ".nbits": np.array(bits, np.int32),
        ".shape": np.array([ROWS, COLUMNS]), ".group_size": np.array(group, np.int32),
        ".axis": np.array(axis, np.int32), ".packing": np.frombuffer(packing.encode(), np.uint8),
        ".view_as_float": np.array(0, np.uint8), ".compute_dtype": np.frombuffer(b"torch.float16", np.uint8),
    }  # fmt: skip
    return Stored(stored, weights.reshape(ROWS, COLUMNS))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("group", [32, 96])
def test_weights_are_the_formulas(packing: str, axis: int, group: int, tmp_path: Path) -> None:
    stored = hqq(packing, axis, group)
    for chunk in (1, 7, ROWS):
        tensor = opened(tmp_path / str(chunk), stored.parts, SETTINGS)
        assert np.array_equal(read_in_parts(tensor, chunk), stored.weights)


def test_words_may_look_like_floats(tmp_path: Path) -> None:
    stored = hqq("4bit_u8", 1, 64, ml_dtypes.bfloat16)
    parts = {**stored.parts, ".W_q": stored.parts[".W_q"].view(ml_dtypes.bfloat16)}
    assert np.array_equal(read_in_parts(opened(tmp_path, parts, SETTINGS)), stored.weights)


def test_rounded_zeros_are_repacked_without_loss(tmp_path: Path) -> None:
    stored = hqq("4bit_u8", 1, 64, whole_zeros=True)
    tensor = opened(tmp_path, stored.parts, SETTINGS)
    assert tensor.repacking(GgmlType.Q5_0) == "without loss"
    blocks = tensor.repacked(GgmlType.Q5_0).read(0, ROWS)
    assert np.array_equal(quants.decode(GgmlType.Q5_0, blocks), stored.weights)


def test_float_zeros_become_minima(tmp_path: Path) -> None:
    tensor = opened(tmp_path, hqq("4bit_u8", 1, 64).parts, SETTINGS)
    assert tensor.repacking(GgmlType.Q4_0) == ""
    assert tensor.repacking(GgmlType.Q4_1).startswith("minima rounded to f16")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({".axis": np.array(2, np.int32)}, "axis' is 2, neither 0 nor 1"),
        ({".group_size": np.array(0, np.int32)}, "group_size' is 0, for 6144 weights"),
        ({".group_size": np.array(48, np.int32)}, "has shape .*, for 128 groups"),
        ({".shape": np.array([ROWS, -4])}, r"shape' is \[96, -4\], not the shape of a matrix"),
        ({".packing": np.frombuffer(b"5bit_u8", np.uint8)}, "packing' is '5bit_u8', which is not supported"),
        ({".W_q": np.zeros((95, 32), np.uint8)}, "W_q' has 3040 bytes, 192 rows of 32 in 2 parts need 3072"),
        ({".scale": np.ones((191, 1), np.float16)}, r"scale' has shape \[191, 1\], for 192 groups"),
        ({".zero_q": np.zeros(4, np.uint8)}, "quantized again are not supported"),
    ],
)
def test_what_contradicts_itself_is_refused(parts: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, {**hqq("4bit_u8", 1, 32).parts, **parts}, SETTINGS)
