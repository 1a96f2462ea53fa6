"""Models measured side by side give what each gives alone."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.evaluation.measure import measure, scored_tokens
from quantize_cli.formats.reference import Predictions
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import VOCABULARY, Decoder, tokens, weights, write


def transformer(path: Path, noise: float = 0.0) -> Transformer:
    made = weights(Decoder("llama"))
    random = np.random.default_rng(6)
    made["output.weight"] += random.normal(0, noise, made["output.weight"].shape).astype(np.float32)
    return from_model(open_model(write(path, Decoder("llama"), made)))


@pytest.fixture
def pair(tmp_path: Path) -> list[Transformer]:
    return [transformer(tmp_path / "model.gguf", 0.02), transformer(tmp_path / "reference.gguf")]


CHUNKS = tokens(5 * 500).reshape(5, 500)[:, :100]


def log_probabilities(model: Transformer, chunk: np.ndarray) -> np.ndarray:
    exact = model.logits(chunk)[50:-1].astype(np.float64)
    return exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))


def test_each_chunk_is_compared_with_the_reference_on_it(pair: list[Transformer]) -> None:
    model, reference = measure(pair, CHUNKS, 1)
    assert reference.against is None
    assert model.against is not None
    for index, chunk in enumerate(CHUNKS):
        q, p = (log_probabilities(one, chunk) for one in pair)
        assert model.against.divergence[index] == pytest.approx((np.exp(p) * (p - q)).sum(axis=1), abs=1e-6)
    assert np.array_equal(model.against.nll, reference.nll)
    assert model.nll.shape == scored_tokens(CHUNKS).shape == (5, 49)
    assert all(speed > 0 for speed in model.tokens_per_second)


def test_where_the_reference_stands_does_not_matter(pair: list[Transformer]) -> None:
    behind, before = measure(pair, CHUNKS, 1)[0].against, measure(pair[::-1], CHUNKS, 0)[1].against
    assert behind is not None
    assert before is not None
    assert np.array_equal(behind.divergence, before.divergence)


class Fixed:
    """Predictions that know nothing."""

    def __init__(self, vocabulary: int) -> None:
        self.asked: list[int] = []
        self._vocabulary = vocabulary

    def rows(self, chunk: int) -> Predictions:
        self.asked.append(chunk)
        return Predictions(np.zeros((49, self._vocabulary), np.float32))


def test_saved_predictions_are_asked_for_chunk_by_chunk(pair: list[Transformer]) -> None:
    saved = Fixed(VOCABULARY)
    (found,) = measure(pair[:1], CHUNKS, saved)
    assert saved.asked == [0, 1, 2, 3, 4]
    assert found.against is not None
    assert found.against.nll == pytest.approx(np.log(VOCABULARY))


def test_predictions_of_another_vocabulary_are_refused(pair: list[Transformer]) -> None:
    with pytest.raises(InputError, match=f"the reference predicts 7 tokens, the model {VOCABULARY}"):
        measure(pair[:1], CHUNKS, Fixed(7))
