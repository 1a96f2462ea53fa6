"""What is collected is what the matrices were given: by formulas of numpy on made-up models."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.statistics import collector
from quantize_cli.calibration.statistics.collector import Collector, shapes_of
from quantize_cli.errors import InputError
from quantize_cli.formats.imatrix import Entry
from quantize_cli.model.source import open_model
from quantize_cli.runtime.observed_layer import observed_transformer
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import Decoder, tokens, weights, write

CONTEXT, CHUNKS = 32, 3
TOKENS = tokens(CHUNKS * CONTEXT).reshape(CHUNKS, CONTEXT)
NEAR = 1e-5
"""How far float32 activations may be off from the float64 of the formulas."""


def opened(folder: Path, decoder: Decoder, changed: Mapping[str, np.ndarray] = {}) -> Transformer:
    return from_model(open_model(write(folder / "model.gguf", decoder, {**weights(decoder), **changed})))


def collected(transformer: Transformer, chunks: np.ndarray, process_output: bool = False) -> dict[str, Entry]:
    collector = Collector(Path("m.gguf"), transformer, shapes_of(transformer, process_output), None)
    for number, chunk in enumerate(chunks, 1):
        collector.run(number, chunk)
    return collector.entries()


def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    exact = x.astype(np.float64)
    scaled: np.ndarray = exact / np.sqrt(np.square(exact).mean(axis=-1, keepdims=True) + 1e-5) * weight
    return scaled


def assert_sums(entry: Entry, given: np.ndarray, matrix: int = 0) -> None:
    given = given.astype(np.float64)
    assert entry.sums is not None
    assert entry.counts[matrix] == len(given)
    assert entry.squares[matrix] == pytest.approx(np.square(given).sum(axis=0), rel=NEAR)
    assert entry.sums[matrix] == pytest.approx(given.sum(axis=0), rel=NEAR, abs=NEAR * np.abs(given).sum(axis=0).max())


def test_the_first_matrices_are_given_normed_embeddings(tmp_path: Path) -> None:
    decoder = Decoder("llama")
    made = weights(decoder)
    entries = collected(opened(tmp_path, decoder), TOKENS)
    given = normed(made["token_embd.weight"][TOKENS.ravel()], made["blk.0.attn_norm.weight"])
    for name in ("attn_q", "attn_k", "attn_v"):
        assert_sums(entries[f"blk.0.{name}.weight"], given)


def test_every_matrix_of_the_layers_is_collected_and_the_output_only_if_wanted(tmp_path: Path) -> None:
    decoder = Decoder("llama")
    transformer = opened(tmp_path, decoder)
    matrices = {name for name, values in weights(decoder).items() if name.startswith("blk.") and values.ndim > 1}
    assert set(collected(transformer, TOKENS[:1])) == matrices
    entries = collected(transformer, TOKENS, process_output=True)
    assert set(entries) == {*matrices, "output.weight"}
    assert_sums(entries["output.weight"], transformer.hidden(TOKENS).reshape(-1, decoder.width))


def test_of_a_tied_output_nothing_is_collected_as_llama_imatrix_has_it(tmp_path: Path) -> None:
    assert "output.weight" not in shapes_of(opened(tmp_path, Decoder("llama", tied=True)), process_output=True)


@pytest.mark.parametrize(
    ("decoder", "fused"),
    [
        (Decoder("gpt2", key_value_heads=4, fused=True), {"attn_qkv": 64}),
        (Decoder("phi3", fused=True, metadata={"rope.dimension_count": 16}), {"attn_qkv": 64, "ffn_up": 64}),
    ],
    ids=["gpt2", "phi3"],
)
def test_a_fused_matrix_counts_what_it_is_given_once(decoder: Decoder, fused: dict[str, int], tmp_path: Path) -> None:
    entries = collected(opened(tmp_path, decoder), TOKENS[:2])
    for name, columns in fused.items():
        entry = entries[f"blk.1.{name}.weight"]
        assert (entry.squares.shape, entry.counts.tolist()) == ((1, columns), [2 * CONTEXT])


MIXTURE = Decoder("llama", layers=1, experts=5)


def rigged() -> np.ndarray:
    """A router that never sends a token to the last of five experts."""
    direction = weights(MIXTURE)["blk.0.ffn_gate_inp.weight"][0]
    return np.outer([1, -1, 0.5, -0.5, 0], direction).astype(np.float32)


def test_an_expert_is_given_the_tokens_sent_to_it(tmp_path: Path) -> None:
    router, seen = rigged(), []
    transformer = opened(tmp_path, MIXTURE, {"blk.0.ffn_gate_inp.weight": router})
    entries = collected(transformer, TOKENS)
    spied = observed_transformer(
        transformer, lambda name, number, x: seen.append(x.copy()) if "gate_inp" in name else None
    )
    spied.hidden(TOKENS)
    (given,) = seen
    chosen = np.argsort(-(given @ router.T), axis=1)[:, :2]
    for name in ("ffn_gate_exps", "ffn_up_exps"):
        for expert in range(4):
            assert_sums(entries[f"blk.0.{name}.weight"], given[(chosen == expert).any(axis=1)], expert)
    down = entries["blk.0.ffn_down_exps.weight"]
    assert down.squares.shape == (5, MIXTURE.feed_forward)
    assert down.counts.tolist() == [np.sum(chosen == expert) for expert in range(5)]
    assert (down.counts[4], down.squares[4].any()) == (0, False)
    assert_sums(entries["blk.0.ffn_gate_inp.weight"], given)


def test_the_shared_expert_is_collected_too(tmp_path: Path) -> None:
    entries = collected(opened(tmp_path, Decoder("qwen2moe", biased=True, experts=4, layers=1,
        metadata={"expert_feed_forward_length": 48, "expert_shared_feed_forward_length": 96})), TOKENS[:1])  # fmt: skip
    shared = {name for name in entries if name.endswith("_shexp.weight")}
    assert shared == {f"blk.0.{name}_shexp.weight" for name in ("ffn_gate", "ffn_up", "ffn_down", "ffn_gate_inp")}
    assert {entries[name].counts.tolist()[0] for name in shared} == {CONTEXT}


def test_what_is_not_finite_is_refused_with_its_tensor_and_chunk(tmp_path: Path) -> None:
    chunks = np.where(TOKENS == 7, 8, TOKENS)
    chunks[1, 3] = 7
    embedding = weights(Decoder("llama"))["token_embd.weight"]
    embedding[7, 5] = np.nan
    transformer = opened(tmp_path, Decoder("llama"), {"token_embd.weight": embedding})
    with pytest.raises(InputError, match=r"m\.gguf: 'blk\.0\.attn_q\.weight' is given nan in column 0, in chunk 2"):
        collected(transformer, chunks)


@pytest.mark.filterwarnings("error")
def test_squares_that_no_float32_holds_are_refused_too(tmp_path: Path) -> None:
    large = np.full(64, 1e25, np.float32)
    transformer = opened(tmp_path, Decoder("llama"), {"blk.0.attn_norm.weight": large})
    with pytest.raises(InputError, match=r"'blk\.0\.attn_q\.weight' is given up to .*e\+2\d, the squares of which add"):
        collected(transformer, TOKENS[:1])


def test_a_long_chunk_is_added_up_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_WIDENED", 7 * 64)
    transformer = opened(tmp_path, Decoder("llama"))
    entries = collected(transformer, TOKENS, process_output=True)
    assert_sums(entries["output.weight"], transformer.hidden(TOKENS).reshape(-1, 64))
