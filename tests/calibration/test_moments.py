"""Sums over tokens are those of all parts, and matrices that share an input are known by it."""

import numpy as np
import pytest

from quantize_cli.calibration.statistics.moments import Moments, Shown, input_of
from tests.calibration import naive

CLOSE = 1e-5
"""Of the largest: a part is summed in float32."""


@pytest.fixture
def shown() -> tuple[Shown, Shown]:
    """What a quantized and a float model gave for the same tokens."""
    streams = np.random.default_rng(0).normal(size=(2, 60, 5)).astype(np.float32)
    return Shown(naive.tokens(60, 8, 1), streams[0]), Shown(naive.tokens(60, 8, 2), streams[1])


def parts(shown: Shown) -> list[Shown]:
    cuts = [7, 7, 40]
    assert shown.stream is not None
    return [Shown(*pair) for pair in zip(np.split(shown.inputs, cuts), np.split(shown.stream, cuts), strict=True)]


def assert_close(expected: np.ndarray, found: np.ndarray | None) -> None:
    assert found is not None
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()


def test_sums_are_those_of_all_parts(shown: tuple[Shown, Shown]) -> None:
    found = Moments(8)
    for pair in zip(*map(parts, shown), strict=True):
        found.add(*pair)
    x, f, y, g = (side.astype(float) for each in zip(*((s.inputs, s.stream) for s in shown), strict=True)
                  for side in each if side is not None)  # fmt: skip
    assert found.count == 60
    assert_close(sum(np.outer(x[i], x[i]) for i in range(60)), found.second)
    assert_close(sum(np.outer(f[i] - x[i], x[i]) for i in range(60)), found.shift)
    assert_close(sum(np.outer(g[i] - y[i], x[i]) for i in range(60)), found.owed)


def test_without_a_float_model_there_is_no_shift(shown: tuple[Shown, Shown]) -> None:
    found = Moments(8)
    found.add(shown[0], None)
    assert (found.shift, found.owed) == (None, None)


def test_without_streams_nothing_is_owed(shown: tuple[Shown, Shown]) -> None:
    found = Moments(8)
    found.add(Shown(shown[0].inputs), Shown(shown[1].inputs))
    assert found.shift is not None
    assert found.owed is None


@pytest.mark.parametrize(
    "names",
    [
        ("blk.3.attn_q.weight", "blk.3.attn_k.weight", "blk.3.attn_v.weight", "blk.3.attn_qkv.weight"),
        ("blk.3.ffn_gate.weight", "blk.3.ffn_up.weight"),
        ("blk.3.ffn_gate_exps.weight", "blk.3.ffn_up_exps.weight"),
        ("blk.3.ffn_gate_shexp.weight", "blk.3.ffn_up_shexp.weight"),
    ],
)
def test_matrices_of_a_layer_that_read_the_same_are_known_by_one_name(names: tuple[str, ...]) -> None:
    assert len({input_of(name) for name in names}) == 1


def test_matrices_that_read_something_else_are_known_by_another() -> None:
    names = [
        "blk.3.attn_q.weight", "blk.4.attn_q.weight", "blk.3.attn_output.weight", "blk.3.ffn_gate.weight",
        "blk.3.ffn_gate_exps.weight", "blk.3.ffn_gate_shexp.weight", "blk.3.ffn_down.weight",
        "blk.3.ffn_down_exps.weight", "output.weight",
    ]  # fmt: skip
    assert len({input_of(name) for name in names}) == len(names)
