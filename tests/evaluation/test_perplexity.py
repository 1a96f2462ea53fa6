"""Perplexity is llama-perplexity's: the same protocol, and its figures from llama.cpp's own logits."""

from math import exp, inf, sqrt
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.evaluation.corpus import read_chunks
from quantize_cli.evaluation.stream import measure
from quantize_cli.evaluation.summary import Summary, summarize
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import Transformer, from_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.runtime.synthetic import VOCABULARY, Decoder, rewrite, tokens, weights, write

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def transformer(tmp_path: Path) -> Transformer:
    decoder = Decoder("llama")
    return from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))


def measured(transformer: Transformer, chunks: np.ndarray) -> Summary:
    return summarize(measure([transformer], chunks)[0], [len(chunks)])


def by_definition(surprises: np.ndarray) -> tuple[float, float]:
    """The perplexity and its standard error."""
    mean = surprises.mean()
    spread = sqrt((np.square(surprises).mean() - mean * mean) / (surprises.size - 1))
    return exp(mean), exp(mean) * spread


def surprises(logits: np.ndarray, chunk: np.ndarray) -> np.ndarray:
    """-ln p of the second half of a chunk (n,), from its logits (n, vocabulary)."""
    exact = logits.astype(np.float64)
    chances = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    scored = range(len(chunk) // 2 + 1, len(chunk))
    return np.array([-chances[place - 1, chunk[place]] for place in scored])


@pytest.mark.parametrize("context", [5, 6, 31, 64])
def test_the_second_half_of_each_chunk_is_scored(context: int, transformer: Transformer) -> None:
    chunks = tokens(7 * context).reshape(7, context)
    value, error = by_definition(np.concatenate([surprises(transformer.logits(c), c) for c in chunks]))
    actual = measured(transformer, chunks)
    assert (actual.tokens, actual.chunks) == (7 * (context - context // 2 - 1), 7)
    assert actual.perplexity.value == pytest.approx(value, rel=1e-6)
    assert actual.perplexity_stderr == pytest.approx(error, rel=1e-5)


def test_a_model_that_knows_nothing_is_as_surprised_as_a_die(tmp_path: Path) -> None:
    tensors = weights(Decoder("llama"))
    tensors["output.weight"][:] = 0
    blank = from_model(open_model(write(tmp_path / "blank.gguf", Decoder("llama"), tensors)))
    result = measured(blank, tokens(80).reshape(2, 40))
    assert result.perplexity.value == pytest.approx(VOCABULARY, rel=1e-12)
    assert result.perplexity_stderr == pytest.approx(0, abs=1e-6)


def test_a_broken_model_is_infinitely_surprised(tmp_path: Path) -> None:
    tensors = weights(Decoder("llama"))
    tensors["output.weight"] *= 1e9
    broken = from_model(open_model(write(tmp_path / "broken.gguf", Decoder("llama"), tensors)))
    assert measured(broken, tokens(80).reshape(2, 40)).perplexity.value == inf


LLAMA_CPP_ROUNDS = {GgmlType.F32: 1e-6, GgmlType.F16: 1e-4, GgmlType.Q8_0: 2e-3, GgmlType.Q4_K: 2e-3}
"""Relative: with F16 weights llama.cpp rounds activations to float16, with blocks to 8 bits."""


@pytest.mark.parametrize("type_", LLAMA_CPP_ROUNDS)
def test_the_sample_text_surprises_as_in_llama_cpp(type_: GgmlType, tmp_path: Path) -> None:
    model = open_model(EXAMPLES / "tiny-llama")
    path = rewrite(model, tmp_path / "model.gguf", type_)
    chunks = read_chunks(EXAMPLES / "sample.txt", load_tokenizer(model.metadata), context=256)
    reference = oracle.Model(path, context=256, exact=True)
    expected = np.concatenate([surprises(reference.logits(c), c) for c in chunks])
    value, error = by_definition(expected)
    actual = measured(from_model(open_model(path)), chunks)
    assert actual.perplexity.value == pytest.approx(value, rel=LLAMA_CPP_ROUNDS[type_])
    assert actual.perplexity_stderr == pytest.approx(error, rel=0.01)
    assert (actual.tokens, actual.chunks) == (expected.size, len(chunks))
    assert actual.perplexity.value < 12


def test_the_sample_text_is_cut_as_llama_cpp_tokenizes_it(tmp_path: Path) -> None:
    model = open_model(EXAMPLES / "tiny-llama")
    reference = oracle.Model(rewrite(model, tmp_path / "model.gguf", GgmlType.F16))
    expected = reference.tokenize((EXAMPLES / "sample.txt").read_text().removesuffix("\n"))
    chunks = read_chunks(EXAMPLES / "sample.txt", load_tokenizer(model.metadata), context=256)
    expected_chunks = np.array(expected[: chunks.size]).reshape(chunks.shape)
    expected_chunks[:, 0] = reference.bos
    assert np.array_equal(chunks, expected_chunks)
