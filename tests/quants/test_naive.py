"""Kernels against their slow twins."""

import numpy as np
import pytest

from formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType
from quantize_cli import quants
from tests import distributions, naive, naive_small

TWINS = naive.TWINS | naive_small.TWINS

_BLOCKS = 6


@pytest.mark.parametrize("kind", ["normal", "student", "positive"])
@pytest.mark.parametrize("type_", [GgmlType[name] for name in TWINS], ids=lambda t: t.name)
def test_kernel_and_twin_decide_alike(type_: GgmlType, kind: str) -> None:
    weights = distributions.weights(kind, 1 << 14).reshape(-1, BLOCK_SHAPE[type_].weights)[:_BLOCKS]
    codes = quants.find(type_).quantize(weights, None)
    for block, found in zip(weights, codes, strict=True):
        for name, expected in TWINS[type_.name](block).items():
            np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_every_block_type_has_a_twin() -> None:
    assert set(TWINS) == {type_.name for type_ in quants.supported() if type_ not in FLOAT_TYPES}
