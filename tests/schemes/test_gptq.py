"""GPTQ: every width, both versions, act-order, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.errors import InputError
from tests.schemes import naive
from tests.schemes.quantized import COLUMNS, ROWS, Stored, opened, read_in_parts

GROUP = 32


def gptq(bits: int, version: int = 1, symmetric: bool = False, act_order: bool = False, group: int = GROUP) -> Stored:
    random = np.random.RandomState(bits)
    codes = random.randint(0, 1 << bits, (COLUMNS, ROWS))
    groups = COLUMNS // group
    middle = np.full((groups, ROWS), 1 << (bits - 1))
    zeros = middle if symmetric else random.randint(1, 1 << bits, (groups, ROWS))
    scales = (random.uniform(0.001, 0.1, (groups, ROWS)) * random.choice([-1, 1], (groups, ROWS))).astype(np.float16)
    order = np.arange(COLUMNS) // group
    if act_order:
        random.shuffle(order)
    parts = {
        ".qweight": naive.packed_down(codes, bits),
        ".qzeros": naive.packed_across(zeros - (version == 1), bits),
        ".scales": scales,
        ".g_idx": order.astype(np.int32),
    }
    return Stored(parts, naive.affine(codes, zeros, scales, lambda i: int(order[i])))


def settings(bits: int, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": GROUP, **more}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("act_order", [False, True])
def test_weights_are_the_formulas(bits: int, version: int, act_order: bool, tmp_path: Path) -> None:
    stored = gptq(bits, version, act_order=act_order)
    format_ = {} if version == 1 else {"checkpoint_format": "gptq_v2"}
    tensor = opened(tmp_path, stored.parts, settings(bits, desc_act=act_order, **format_))
    assert tensor.scheme == f"gptq, {bits} bits"
    assert np.array_equal(read_in_parts(tensor), stored.weights)


def test_a_matrix_is_a_value(tmp_path: Path) -> None:
    stored = gptq(4)
    tensor = opened(tmp_path, stored.parts, settings(4))
    assert np.array_equal(pickle.loads(pickle.dumps(tensor)).read(5, 9), stored.weights[5:9])


@pytest.mark.parametrize("group", [16, 64])
def test_auto_round_leaves_the_groups_of_columns_out(group: int, tmp_path: Path) -> None:
    stored = gptq(4, group=group)
    parts = {ending: values for ending, values in stored.parts.items() if ending != ".g_idx"}
    stated = {"quant_method": "auto-round", "bits": 4, "group_size": group, "packing_format": "auto_round:auto_gptq"}
    assert np.array_equal(read_in_parts(opened(tmp_path, parts, stated)), stored.weights)


def test_one_matrix_may_have_bits_of_its_own(tmp_path: Path) -> None:
    stored = gptq(8, group=16)
    stated = settings(4, dynamic={r"+:.*up_proj": {"bits": 8, "group_size": 16}})
    assert np.array_equal(read_in_parts(opened(tmp_path, stored.parts, stated)), stored.weights)


@pytest.mark.parametrize("size", [-1, COLUMNS, 128, 10**30])
def test_a_group_may_be_a_whole_row(size: int, tmp_path: Path) -> None:
    stored = gptq(4, group=COLUMNS)
    tensor = opened(tmp_path, stored.parts, {"quant_method": "gptq", "bits": 4, "group_size": size})
    assert np.array_equal(read_in_parts(tensor), stored.weights)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32])
def test_scales_may_be_of_any_float_type(dtype: Any, tmp_path: Path) -> None:
    scales = gptq(4).parts[".scales"].astype(dtype)
    tensor = opened(tmp_path, {**gptq(4).parts, ".scales": scales}, settings(4))
    exact = opened(tmp_path / "exact", {**gptq(4).parts, ".scales": scales.astype(np.float32)}, settings(4))
    assert np.array_equal(tensor.read(0, ROWS), exact.read(0, ROWS))


@pytest.mark.parametrize("group", [2, -1, 1 << 30])
def test_a_group_that_is_not_there_is_refused(group: int, tmp_path: Path) -> None:
    tensor = opened(tmp_path, {**gptq(4).parts, ".g_idx": np.full(COLUMNS, group, np.int32)}, settings(4))
    with pytest.raises(InputError, match=f"g_idx' puts column 0 into group {group}, there are 2"):
        tensor.read(0, 1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"bits": 5}, "'bits' '5' is not supported"),
        ({"bits": 8}, "qweight' has 8 words for a row, and .* 12 for 96 rows, which does not fit 8 bits"),
        ({"group_size": 0}, "'group_size' '0' is not supported"),
        ({"group_size": 16}, "scales' has 2 groups for 64 columns, groups of 16 are 4"),
        ({"checkpoint_format": "marlin"}, "'checkpoint_format' 'marlin' is not supported"),
    ],
)
def test_settings_that_do_not_fit_are_refused(more: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, gptq(4).parts, settings(4) | more)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            {".qzeros": np.zeros((2, 11), np.int32)},
            "has 8 words for a row, and .*qzeros' 11 for 96 rows, which does not fit 4",
        ),
        ({".qzeros": np.zeros((3, 12), np.int32)}, r"qzeros' has shape \[3, 12\], expected \[2, 12\]"),
        ({".qweight": np.zeros((8, 95), np.int32)}, r"qweight' has shape \[8, 95\], .*scales' has 96 columns"),
        ({".qweight": np.zeros((8, 96), np.uint8)}, "qweight' has dtype U8, not I32"),
        ({".qweight": np.zeros((0, 96), np.int32)}, r"qweight' has shape \[0, 96\], not that of a matrix"),
        ({".scales": np.zeros((3, 96), np.float16)}, r"qzeros' has shape \[2, 12\], expected \[3, 12\]"),
        ({".g_idx": np.zeros(56, np.int32)}, "has 8 words for a row, and .* 12 for 96 rows, which does not fit 4 bits"),
        ({".g_idx": np.zeros((8, 8), np.int32)}, r"g_idx' has shape \[8, 8\], expected \[64\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, {**gptq(4).parts, **parts}, settings(4))


@pytest.mark.parametrize("missing", [".qzeros", ".scales"])
def test_a_missing_part_is_named(missing: str, tmp_path: Path) -> None:
    parts = {ending: values for ending, values in gptq(4).parts.items() if ending != missing}
    with pytest.raises(InputError, match=f"up_proj{missing}' is missing beside"):
        opened(tmp_path, parts, settings(4))
