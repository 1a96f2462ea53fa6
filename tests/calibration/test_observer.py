"""What matrices are given is summed up for whoever registered, in one pass."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.observer import (
    Input,
    Largest,
    Latest,
    Magnitudes,
    NarrowMoments,
    ObservedLayers,
    Observer,
    Sample,
    Squares,
)
from quantize_cli.errors import InputError
from quantize_cli.model.source import open_model
from quantize_cli.runtime.observed_layer import observed_transformer
from quantize_cli.runtime.transformer import from_model
from tests.runtime.synthetic import small, tokens


def magnitudes(text: ObservedLayers, stay: bool = False) -> dict[Input, Magnitudes]:
    observer = Observer()
    found = observer.collect(Magnitudes)
    text.observe(observer, stay=stay)
    return found


def test_every_statistic_registered_is_of_all_that_was_shown() -> None:
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    observer = Observer()
    totals, largest, squares = (observer.collect(make) for make in (Magnitudes, Largest, Squares))
    second, narrow = observer.collect(Moments), observer.collect(NarrowMoments)
    samples, latest = observer.collect(lambda columns: Sample(4)), observer.collect(Latest)
    for part in np.split(x, [10, 10, 35]):
        observer("a.weight", 0, part)
    (key,) = totals
    assert np.allclose(totals[key].total, np.abs(x).sum(axis=0))
    assert np.array_equal(largest[key].largest, np.abs(x).max(axis=0))
    assert np.allclose(squares[key].total, np.square(x).sum(axis=0))
    assert (squares[key].count, second[key].count) == (50, 50)
    for moments in (second[key], narrow[key]):
        assert np.allclose(moments.second, x.T.astype(float) @ x, rtol=1e-2, atol=1e-2)
    assert [len(part) for part in samples[key].parts] == [4, 4, 4]
    assert np.array_equal(x[35:], latest[key].x)


def test_an_input_can_be_left_out_or_counted_with_another() -> None:
    observer, x = Observer(), np.ones((3, 2), np.float32)
    one = observer.collect(Squares, {("a", 1): ("a", 1)}.get)
    together = observer.collect(Squares, lambda input_: (input_[0], 0))
    for number in range(3):
        observer("a", number, x)
    assert {key: each.count for key, each in one.items()} == {("a", 1): 3}
    assert {key: each.count for key, each in together.items()} == {("a", 0): 9}


def test_matrices_that_read_the_same_are_observed_once(tmp_path: Path) -> None:
    found = magnitudes(ObservedLayers(from_model(open_model(small(tmp_path))), tokens(40).reshape(2, 20)))
    names = ("attention", "attn_output.weight", "feed_forward", "ffn_down.weight")
    assert set(found) == {(f"blk.0.{name}", 0) for name in names}


def test_a_text_that_stays_is_seen_again(tmp_path: Path) -> None:
    text = ObservedLayers(from_model(open_model(small(tmp_path))), tokens(40).reshape(2, 20))
    first, again, second = magnitudes(text, stay=True), magnitudes(text), magnitudes(text)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key].total, again[key].total) for key in first)
    assert ("blk.1.attention", 0) in second


def test_experts_share_the_tokens_of_their_router(tmp_path: Path) -> None:
    text, observer = (
        ObservedLayers(from_model(open_model(small(tmp_path, experts=4))), tokens(40).reshape(2, 20)),
        Observer(),
    )
    found = observer.collect(Squares)
    text.observe(observer)
    counts = [each.count for (name, _), each in found.items() if name == "blk.0.feed_forward_exps"]
    assert (found["blk.0.feed_forward_inp", 0].count, sum(counts)) == (40, 2 * 40)


def test_a_layer_is_given_what_the_one_before_makes(tmp_path: Path) -> None:
    """More tokens than run at once, so that the last part has fewer sequences."""
    model, chunks = open_model(small(tmp_path)), tokens(4900).reshape(49, 100)
    text, given = ObservedLayers(from_model(model), chunks), dict[str, np.ndarray]()
    observed_transformer(from_model(model), lambda name, number, x: given.__setitem__(name, x.copy())).hidden(chunks)
    for layer in range(2):
        total = magnitudes(text)[f"blk.{layer}.feed_forward", 0].total
        assert np.allclose(total, np.abs(given[f"blk.{layer}.ffn_gate.weight"]).sum(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [(np.zeros((0, 8), np.int32), "there are no tokens"), (np.full((1, 8), 96), "token 96 is not in a vocab")],
)
def test_tokens_that_cannot_be_run_are_refused(chunks: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ObservedLayers(from_model(open_model(small(tmp_path))), chunks)
