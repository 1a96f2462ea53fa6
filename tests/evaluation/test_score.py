"""Divergences are those of the definition; a saved reference changes them by no more than it says."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.evaluation.score import compare, nlls
from quantize_cli.formats.reference import Predictions, ReferenceHeader, encode_chunk, encode_header, read_reference

ROWS, VOCABULARY = 40, 3000


def pair(apart: float, vocabulary: int = VOCABULARY) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A model's logits, the reference's, and the tokens that came; probabilities spread as a language model's."""
    random = np.random.default_rng(3)
    base = random.normal(0, 3, (ROWS, vocabulary)).astype(np.float32) + np.float32(5)
    model = base + random.normal(0, apart, base.shape).astype(np.float32) - np.float32(2)
    return model, base, random.integers(0, vocabulary, ROWS)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    return exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))


def divergence(model: np.ndarray, base: np.ndarray) -> np.ndarray:
    p, q = log_probabilities(base), log_probabilities(model)
    return (np.exp(p) * (p - q)).sum(axis=1)


@pytest.mark.parametrize("apart", [0.01, 0.3, 3])
def test_the_divergence_is_that_of_the_definition(apart: float) -> None:
    model, base, tokens = pair(apart)
    nll, against = compare(model, Predictions(base), tokens)
    assert against.divergence == pytest.approx(divergence(model, base), abs=3e-7, rel=1e-6)
    assert nll == pytest.approx(-log_probabilities(model)[np.arange(ROWS), tokens], rel=1e-6)
    assert against.nll == pytest.approx(-log_probabilities(base)[np.arange(ROWS), tokens], rel=1e-6)
    assert np.array_equal(against.same_top_token, model.argmax(axis=1) == base.argmax(axis=1))
    assert not against.divergence_error.any()


def test_a_model_does_not_diverge_from_itself() -> None:
    model, _, tokens = pair(1)
    nll, against = compare(model, Predictions(model), tokens)
    assert not against.divergence.any()
    assert against.same_top_token.all()
    assert np.array_equal(nll, against.nll)
    assert np.array_equal(nll, nlls(model, tokens))


def test_the_batches_that_rows_are_worked_on_in_do_not_show() -> None:
    model, base, tokens = pair(1, vocabulary=1 << 15)
    _, together = compare(model, Predictions(base), tokens)
    _, alone = compare(model[30:31], Predictions(base[30:31]), tokens[30:31])
    assert together.divergence[30] == pytest.approx(alone.divergence[0], rel=1e-12)


def test_predictions_that_are_no_numbers_give_none() -> None:
    model, base, tokens = pair(1)
    model[0, 0] = np.nan
    nll, against = compare(model, Predictions(base), tokens)
    assert np.isnan(nll[0])
    assert np.isnan(against.divergence[0])
    assert np.isfinite(against.divergence[1:]).all()


@pytest.mark.parametrize("apart", [0.01, 0.1, 1])
def test_a_saved_reference_is_off_by_no_more_than_it_says(apart: float, tmp_path: Path) -> None:
    model, base, _ = pair(apart)
    tokens = np.arange(2 * ROWS + 2, dtype=np.int32)[None] % VOCABULARY
    observed = tokens[0, ROWS + 2 :]
    path = tmp_path / "saved"
    header = ReferenceHeader("", VOCABULARY, b"", (("a", 1),), tokens)
    path.write_bytes(encode_header(header) + encode_chunk(base, observed))
    _, exact = compare(model, Predictions(base), observed)
    _, saved = compare(model, read_reference(path).rows(0), observed)
    assert (np.abs(saved.divergence - exact.divergence) <= saved.divergence_error + 1e-6).all()
    assert saved.divergence_error.mean() < 0.01 * exact.divergence.mean() + 1e-5
    assert saved.nll == pytest.approx(exact.nll, rel=1e-6)


def test_the_bound_is_one_for_coarse_codes_as_well() -> None:
    model, base, tokens = pair(0.5)
    p = log_probabilities(base)
    order = np.argsort(-p, axis=1)[:, :32]
    half = 0.2
    coarse = np.round(p / (2 * half)) * 2 * half
    mass = 1 - np.exp(np.take_along_axis(p, order, axis=1)).sum(axis=1)
    np.put_along_axis(coarse, order, -np.inf, axis=1)
    coarse += (np.log(mass) - np.log(np.exp(coarse).sum(axis=1)))[:, None]
    np.put_along_axis(coarse, order, np.take_along_axis(p, order, axis=1), axis=1)
    rows = Predictions(coarse.astype(np.float32), half_steps=np.full(ROWS, half), exact=order)
    _, found = compare(model, rows, tokens)
    error = np.abs(found.divergence - divergence(model, base))
    assert (error <= found.divergence_error).all()
    assert error.max() > 1e-4


def test_stored_probabilities_need_not_add_up_to_one() -> None:
    model, base, tokens = pair(0.5)
    p, q = log_probabilities(base), log_probabilities(model)
    p[p <= -9] = -1e4
    expected = np.where(p > -9, np.exp(p) * (p - q), 0).sum(axis=1)
    _, found = compare(model, Predictions(p.astype(np.float32), are_log_probabilities=True, nll=np.ones(ROWS)), tokens)
    assert found.divergence == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found.divergence_error).all()
    assert np.array_equal(found.nll, np.ones(ROWS))
