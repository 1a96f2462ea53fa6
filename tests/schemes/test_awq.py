"""AWQ: its order of nibbles, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from tests.schemes import naive
from tests.schemes.quantized import COLUMNS, ROWS, Stored, opened, read_in_parts

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight outputs each nibble of a word holds."""


def packed(codes: np.ndarray) -> np.ndarray:
    """(n, out) -> (n, out / 8) i32."""
    words = [
        [sum(int(row[8 * word + ORDER[nibble]]) << 4 * nibble for nibble in range(8)) for word in range(len(row) // 8)]
        for row in codes
    ]
    return np.array(words, np.uint32).view(np.int32)


def awq(group: int = 32) -> Stored:
    random = np.random.RandomState(group)
    codes = random.randint(0, 16, (COLUMNS, ROWS))
    zeros = random.randint(0, 16, (COLUMNS // group, ROWS))
    scales = random.uniform(0.001, 0.1, zeros.shape).astype(np.float16)
    parts = {".qweight": packed(codes), ".qzeros": packed(zeros), ".scales": scales}
    return Stored(parts, naive.affine(codes, zeros, scales, lambda i: i // group))


def settings(**more: Any) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "version": "gemm", "zero_point": True, **more}


@pytest.mark.parametrize("group", [16, 32, 64])
def test_weights_are_the_formulas(group: int, tmp_path: Path) -> None:
    stored = awq(group)
    for number, stated in enumerate((settings(group_size=group), None)):
        tensor = opened(tmp_path / str(number), stored.parts, stated)
        assert tensor.scheme == "awq, 4 bits"
        assert np.array_equal(read_in_parts(tensor, 5), stored.weights)


def test_auto_round_writes_it_too(tmp_path: Path) -> None:
    stated = {"quant_method": "auto-round", "bits": 4, "group_size": -1, "packing_format": "auto_round:auto_awq"}
    stored = awq(COLUMNS)
    assert np.array_equal(read_in_parts(opened(tmp_path, stored.parts, stated)), stored.weights)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"version": "gemv"}, "'version' 'gemv' is not supported"),
        ({"bits": 8}, "'bits' '8' is not supported"),
        ({"group_size": 0}, "'group_size' '0' is not supported"),
        ({"group_size": "32"}, "'group_size' is '32', not a whole number"),
        ({"group_size": 64}, "scales' has 2 groups for 64 columns, groups of 64 are 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(more: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, awq().parts, settings(**more))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({".qzeros": np.zeros((3, 12), np.int32)}, r"qzeros' has shape \[3, 12\], expected \[2, 12\]"),
        ({".qweight": np.zeros((COLUMNS, 11), np.int32)}, "has 11 words of 8 codes in a row, .* has 96 columns"),
        ({".scales": np.zeros((2, 0), np.float16)}, r"scales' has shape \[2, 0\], not that of a matrix"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, {**awq().parts, **parts}, settings())
