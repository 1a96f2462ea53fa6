"""What stands for NaN or infinity is found in every type, at its row and block."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType

BLOCKS = [type_ for type_ in quants.supported() if type_ not in FLOAT_TYPES]
FLOATS = [type_ for type_ in quants.supported() if type_ in FLOAT_TYPES]
ROWS = 3


def stored(type_: GgmlType, weights: np.ndarray) -> np.ndarray:
    importance = np.ones(weights.shape[1], np.float32) if quants.find(type_).needs_importance else None
    with np.errstate(over="ignore", invalid="ignore"):
        return quants.encode(type_, weights, importance)


def numbers(columns: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, columns)).astype(np.float32)


@pytest.mark.parametrize("type_", quants.supported(), ids=lambda t: t.name)
def test_what_is_finite_is_not_refused(type_: GgmlType) -> None:
    assert quants.first_not_finite(type_, stored(type_, numbers(2 * BLOCK_SHAPE[type_].weights))) is None


@pytest.mark.parametrize("type_", BLOCKS, ids=lambda t: t.name)
def test_weights_are_held_or_found_to_be_too_large(type_: GgmlType) -> None:
    width = BLOCK_SHAPE[type_].weights
    weights = numbers(2 * width)
    for size in (1e9, 1e11, 1e15, float(np.finfo(np.float32).max)):
        weights[1, width:] = size
        try:
            made = stored(type_, weights)
        except InputError:  # as searches do whose sums overflow
            continue
        is_refused = quants.is_beyond(type_, size) or quants.first_not_finite(type_, made) == (1, 1)
        assert is_refused or np.allclose(quants.decode(type_, made)[1, width:], size, rtol=0.6)


@pytest.mark.parametrize("pattern", [0x7C00, 0xFC00, 0x7E00], ids=["inf", "-inf", "nan"])
@pytest.mark.parametrize("type_", BLOCKS, ids=lambda t: t.name)
def test_any_scale_of_a_block_is_looked_at(type_: GgmlType, pattern: int) -> None:
    quant = quants.find(type_)
    rows = stored(type_, numbers(2 * BLOCK_SHAPE[type_].weights))
    names = [name for name in quants.codes_dtype(type_).names or () if quants.codes_dtype(type_)[name] == np.float16]
    for name in names:
        blocks = rows.reshape(-1, quant.block.itemsize).view(quant.block)[:, 0]
        codes = quant.unpack(blocks)
        codes[name][3] = np.uint16(pattern).view(np.float16)
        damaged = quant.pack(codes).view(np.uint8).reshape(rows.shape)
        assert quants.first_not_finite(type_, damaged) == (1, 1)


@pytest.mark.parametrize(("type_", "byte"), [(GgmlType.MXFP4, 255), (GgmlType.NVFP4, 127), (GgmlType.NVFP4, 255)])
def test_scales_that_are_nan_by_their_code(type_: GgmlType, byte: int) -> None:
    rows = stored(type_, numbers(2 * BLOCK_SHAPE[type_].weights))
    rows[2, 0] = byte
    assert quants.first_not_finite(type_, rows) == (2, 0)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("type_", FLOATS, ids=lambda t: t.name)
def test_numbers_are_named_by_row_and_column(type_: GgmlType, number: float) -> None:
    weights = numbers(5)
    weights[2, 3] = number
    assert quants.trouble(type_, stored(type_, weights), first=10) == f"{number} at row 12, column 3"
