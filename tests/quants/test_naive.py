"""Kernels against their slow twins."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType
from tests import distributions, naive, naive_iq, naive_small

TWINS = naive.TWINS | naive_small.TWINS | naive_iq.TWINS

_BLOCKS = 6


@pytest.mark.parametrize("kind", ["normal", "student", "positive"])
@pytest.mark.parametrize("type_", [GgmlType[name] for name in naive.TWINS | naive_small.TWINS], ids=lambda t: t.name)
def test_kernel_and_twin_decide_alike(type_: GgmlType, kind: str) -> None:
    weights = distributions.weights(kind, 1 << 14).reshape(-1, BLOCK_SHAPE[type_].weights)[:_BLOCKS]
    codes = quants.find(type_).quantize(weights, None)
    for block, found in zip(weights, codes, strict=True):
        for name, expected in TWINS[type_.name](block).items():
            np.testing.assert_array_equal(found[name], expected, err_msg=name)


@pytest.mark.parametrize("kind", ["normal", "positive"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("type_", [GgmlType[name] for name in naive_iq.TWINS], ids=lambda t: t.name)
def test_kernel_and_twin_choose_the_same_points(type_: GgmlType, weighted: bool, kind: str) -> None:
    if quants.find(type_).needs_importance and not weighted:
        pytest.skip("there is no search without importance")
    weights = distributions.weights(kind, 1 << 9).reshape(-1, 256)
    importance = distributions.importance("random", 256) if weighted else None
    codes = quants.find(type_).quantize(weights, importance)
    for block, found in zip(weights, codes, strict=True):
        for name, expected in naive_iq.TWINS[type_.name](block, importance).items():
            np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_every_block_type_has_a_twin() -> None:
    assert set(TWINS) == {type_.name for type_ in quants.supported() if type_ not in FLOAT_TYPES}
