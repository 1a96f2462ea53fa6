"""GPTQ: every width, both versions, act-order, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("ending", "values", "told"),
    [
        (".g_idx", np.full(COLUMNS, 2, np.int32), "puts column 0 into group 2, there are 2"),
        (".g_idx", np.full(COLUMNS, -1, np.int32), "puts column 0 into group -1, there are 2"),
    ],
)
def test_a_group_that_is_not_there_is_refused(ending: str, values: np.ndarray, told: str, tmp_path: Path) -> None:
    tensor = opened(tmp_path, {**gptq(4).parts, ending: values}, settings(4))
    with pytest.raises(InputError, match=told):
        tensor.read(0, 1)
