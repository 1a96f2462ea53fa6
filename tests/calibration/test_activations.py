"""What matrices are given is summed up by column, in any turns."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.statistics.activations import Activations, Calibration
from quantize_cli.errors import InputError
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import from_model
from quantize_cli.runtime.watch import watched
from tests.runtime.synthetic import small, tokens

ROUTER = "blk.0.ffn_gate_inp.weight", 0


def test_sums_are_those_of_all_parts() -> None:
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    found = Activations(6)
    for part in np.split(x, [10, 10, 35]):
        found.add(part, with_moment=True)
    assert found.count == 50
    assert np.allclose(found.total, np.abs(x).sum(axis=0))
    assert np.array_equal(found.largest, np.abs(x).max(axis=0))
    assert found.moment is not None
    assert np.allclose(found.moment, x.T.astype(float) @ x)


def test_only_the_moments_asked_for_are_held(tmp_path: Path) -> None:
    seen = Calibration(open_model(small(tmp_path, experts=4)), tokens(40).reshape(2, 20)).look([ROUTER])
    assert [key for key, activations in seen.items() if activations.moment is not None] == [ROUTER]


def test_a_text_that_stays_is_seen_again(tmp_path: Path) -> None:
    calibration = Calibration(open_model(small(tmp_path)), tokens(40).reshape(2, 20))
    first, again, second = calibration.look(stay=True), calibration.look(), calibration.look()
    key = "blk.0.attn_q.weight", 0
    assert np.array_equal(first[key].total, again[key].total)
    assert ("blk.1.attn_q.weight", 0) in second


def test_experts_share_the_tokens_of_their_router(tmp_path: Path) -> None:
    seen = Calibration(open_model(small(tmp_path, experts=4)), tokens(40).reshape(2, 20)).look()
    counts = [seen[key].count for key in seen if key[0] == "blk.0.ffn_gate_exps.weight"]
    assert (seen[ROUTER].count, sum(counts)) == (40, 2 * 40)


def test_a_layer_is_given_what_the_one_before_makes(tmp_path: Path) -> None:
    """More tokens than run at once, so that the last part has fewer sequences."""
    model, chunks = open_model(small(tmp_path)), tokens(4900).reshape(49, 100)
    transformer, calibration = from_model(model), Calibration(model, chunks)
    given: dict[str, np.ndarray] = {}
    watched(transformer, lambda name, number, x: given.__setitem__(name, x.copy())).hidden(chunks)
    for name in ("blk.0.ffn_up.weight", "blk.1.ffn_up.weight"):
        assert np.allclose(calibration.look()[name, 0].total, np.abs(given[name]).sum(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [(np.zeros((0, 8), np.int32), "no tokens to calibrate on"), (np.full((1, 8), 96), "token 96 is not in a vocab")],
)
def test_tokens_that_cannot_be_run_are_refused(chunks: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Calibration(open_model(small(tmp_path)), chunks)
