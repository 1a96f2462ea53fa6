"""bitsandbytes: nf4 and fp4, plain and nested, and int8."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.errors import InputError
from tests.schemes.quantized import COLUMNS, ROWS, Stored, opened, read_in_parts

SETTINGS = {"quant_method": "bitsandbytes", "load_in_4bit": True}
STATE = ".weight.quant_state.bitsandbytes__nf4"


def four_bits(kind: str = "nf4", block: int = 64, nested: bool = False, storage: Any = np.uint8) -> Stored:
    random = np.random.RandomState(block)
    codes = random.randint(0, 16, ROWS * COLUMNS)
    levels = np.sort(random.uniform(-1, 1, 16)).astype(np.float32)
    count = len(codes) // block
    packed = np.array([16 * codes[2 * i] + codes[2 * i + 1] for i in range(len(codes) // 2)], np.uint8)
    state: dict[str, Any] = {"quant_type": kind, "blocksize": block, "dtype": "float16", "shape": [ROWS, COLUMNS]}
    parts = {".weight": packed.view(storage).reshape(-1, 1), ".weight.quant_map": levels}
    absmax = random.uniform(0.01, 1, count).astype(np.float32)
    if nested:
        small = random.randint(0, 256, count).astype(np.uint8)
        book = np.sort(random.uniform(-1, 1, 256)).astype(np.float32)
        magnitudes = random.uniform(0.1, 1, -(-count // 32)).astype(np.float32)
        offset = 0.53125
        absmax = np.array([book[small[i]] * magnitudes[i // 32] + np.float32(offset) for i in range(count)], np.float32)
        state |= {"nested_blocksize": 32, "nested_dtype": "float32", "nested_offset": offset}
        parts |= {".weight.nested_absmax": magnitudes, ".weight.nested_quant_map": book, ".weight.absmax": small}
    else:
        parts[".weight.absmax"] = absmax
    parts[STATE.removesuffix("nf4") + kind] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    weights = np.array([levels[codes[i]] * absmax[i // block] for i in range(len(codes))], np.float32)
    return Stored(parts, weights.reshape(ROWS, COLUMNS))


def int8() -> Stored:
    random = np.random.RandomState(8)
    codes = random.randint(-127, 128, (ROWS, COLUMNS)).astype(np.int8)
    magnitudes = random.uniform(0.01, 2, ROWS).astype(np.float32)
    weights = np.empty((ROWS, COLUMNS), np.float32)
    for o in range(ROWS):
        for i in range(COLUMNS):
            weights[o, i] = np.float32(codes[o, i]) * magnitudes[o] * np.float32(1 / 127)
    return Stored({".weight": codes, ".SCB": magnitudes, ".weight_format": np.array(0, np.uint8)}, weights)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("block", [32, 64, 96])
def test_weights_are_the_formulas(kind: str, nested: bool, block: int, tmp_path: Path) -> None:
    stored = four_bits(kind, block, nested)
    tensor = opened(tmp_path, stored.parts, SETTINGS)
    assert tensor.scheme == f"bitsandbytes, {kind}{' with nested scales' if nested else ''}"
    assert np.array_equal(read_in_parts(tensor), stored.weights)


@pytest.mark.parametrize("storage", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_bytes_may_look_like_floats(storage: Any, tmp_path: Path) -> None:
    stored = four_bits(storage=storage)
    assert np.array_equal(read_in_parts(opened(tmp_path, stored.parts, SETTINGS)), stored.weights)


def test_names_tell_where_nothing_is_said(tmp_path: Path) -> None:
    assert opened(tmp_path / "4", four_bits().parts, None).scheme == "bitsandbytes, nf4"
    assert opened(tmp_path / "8", int8().parts, None).scheme == "bitsandbytes, int8"


def test_int8_is_scaled_by_rows(tmp_path: Path) -> None:
    stored = int8()
    tensor = opened(tmp_path, stored.parts, {"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert np.array_equal(read_in_parts(tensor), stored.weights)


def state(**more: Any) -> np.ndarray:
    stated = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [ROWS, COLUMNS], **more}
    return np.frombuffer(json.dumps(stated).encode(), np.uint8)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({STATE: state(blocksize=0)}, "'blocksize' is '0', not a positive whole number"),
        ({STATE: state(shape=[ROWS, -1])}, r"'shape' is '\[96, -1\]', not the shape of a matrix"),
        ({STATE: state(shape=[ROWS, 128])}, r"weight' has 3072 bytes, 4 bits for shape \[96, 128\] need 6144"),
        ({STATE: np.frombuffer(b"{", np.uint8)}, "not json"),
        (
            {**four_bits(nested=True).parts, STATE: state(nested_blocksize=32, nested_offset=10**400)},
            "'nested_offset' is '10000.*, not a number",
        ),
        ({".weight.absmax": np.ones(95, np.float32)}, r"absmax' has shape \[95\], expected \[96\]"),
        ({".weight.absmax": np.ones((4, 256), ml_dtypes.bfloat16)}, "absmax' has dtype BF16, not F32"),
        ({".weight.quant_map": np.ones(15, np.float32)}, r"quant_map' has shape \[15\], expected \[16\]"),
    ],
)
def test_what_contradicts_itself_is_refused(parts: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        opened(tmp_path, {**four_bits().parts, **parts}, SETTINGS)


def test_a_block_may_be_larger_than_the_matrix(tmp_path: Path) -> None:
    stored = four_bits(block=ROWS * COLUMNS)
    parts = {**stored.parts, STATE: state(blocksize=10**30)}
    assert np.array_equal(read_in_parts(opened(tmp_path, parts, SETTINGS)), stored.weights)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    parts = {ending: values for ending, values in four_bits().parts.items() if ending != ".weight.quant_map"}
    with pytest.raises(InputError, match=r"up_proj\.weight\.quant_map' is missing beside"):
        opened(tmp_path, parts, SETTINGS)
