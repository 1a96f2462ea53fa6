"""Encoders compute what transformers and llama.cpp compute, and one embedding of it."""

import os
from pathlib import Path

import numpy as np
import pytest

from quantize_cli import load
from quantize_cli.errors import InputError, UsageError
from quantize_cli.model.source import open_model
from quantize_cli.runtime.pooling import normalized, pooled
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.golden.families.make_golden import TOKENS
from tests.golden.families.variants import ENCODERS, build, golden
from tests.tokenizers.converted import write

SUMS = 1e-5
"""Of the largest state: float32 sums in another order."""
TANH_GELU = 2e-3
"""The same, where the other computes the tanh formula, or looks it up in a table of float16."""
TEXTS = ("the quick brown fox jumps!", "A model", "größer als naïve café, and so on until the counting stops at 9999")
REAL = Path(os.environ.get("QUANTIZE_REAL_MODELS", "real-models")) / "all-MiniLM-L6-v2"


@pytest.mark.parametrize("name", ENCODERS)
def test_states_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    expected = golden(name)["logits"]
    actual = from_model(open_model(build(name, tmp_path / name)), threads=1, embeds=True).hidden(np.array(TOKENS))[-1]
    assert np.abs(actual[: len(expected["kept"])] - expected["kept"]).max() < SUMS * expected["largest"]


@pytest.mark.parametrize("name", ENCODERS)
def test_embeddings_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(open_model(build(name, tmp_path / name)), path)
    model, engine = load(path, threads=1), oracle.Model(path)
    for text in TEXTS:
        tokens = model.tokenize(text)
        assert tokens == engine.tokenize(text)
        expected = engine.embedding(np.array(tokens, np.int32))
        assert np.abs(model.embed(text, normalize=False)[0] - expected).max() < TANH_GELU * np.abs(expected).max()


def test_an_embedding_depends_on_its_text_alone(tmp_path: Path) -> None:
    model = load(build("bert", tmp_path / "bert"), threads=1)
    together = model.embed(TEXTS)
    assert together.shape == (len(TEXTS), 64)
    assert all(np.array_equal(row, model.embed(text)[0]) for row, text in zip(together, TEXTS, strict=True))
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_pooling() -> None:
    states = np.array([[1, 2], [3, 4], [8, 0]], np.float32)
    assert [pooled(states, way).tolist() for way in ("mean", "cls", "last")] == [[4, 2], [1, 2], [8, 0]]
    assert normalized(states[1]).tolist() == pytest.approx([0.6, 0.8])
    assert normalized(np.zeros(2, np.float32)).tolist() == [0, 0]


def test_what_cannot_be_embedded_is_refused(tmp_path: Path) -> None:
    model = load(build("bert", tmp_path / "a"), threads=1)
    with pytest.raises(InputError, match=r"text 2 has 202 tokens, .* has 128 positions"):
        model.embed(["a", "a " * 200])
    with pytest.raises(UsageError, match="pooling 'max' is not one of mean, cls, last"):
        model.embed("a", pooling="max")
    plain = build("bert", tmp_path / "b")
    (plain / "modules.json").unlink()
    with pytest.raises(InputError, match="does not say how one embedding is made"):
        load(plain, threads=1).embed("a")
    assert load(plain, threads=1).embed("a", pooling="mean").tolist() == model.embed("a").tolist()


def test_an_encoder_predicts_nothing(tmp_path: Path) -> None:
    model = load(build("bert", tmp_path / "bert"), threads=1)
    for predict in (lambda: model.logits([1, 2]), lambda: model.generate("a"), lambda: from_model(model.source)):
        with pytest.raises(InputError, match="architecture 'bert' is an encoder"):
            predict()
    with pytest.raises(InputError, match="neither trained"):
        from_model(model.source, resident=False, embeds=True)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs all-MiniLM-L6-v2 in the folder that QUANTIZE_REAL_MODELS names")
def test_a_published_model_tells_related_texts_from_others() -> None:
    rows = load(REAL).embed(["A man is eating food.", "A man eats a piece of bread.", "The stock market fell today."])
    similarity = rows @ rows.T
    assert similarity[0, 1] > 0.6 > 0.2 > similarity[0, 2]
