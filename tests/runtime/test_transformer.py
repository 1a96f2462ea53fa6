"""The forward pass is llama.cpp's: the same logits from the same file, up to the order of float32 sums."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.family import FAMILIES
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.runtime.synthetic import Decoder, small, tokens, weights, write

F32 = GgmlType.F32
DECODERS = {
    "llama": Decoder("llama"),
    "llama, one key-value head per head, tied": Decoder("llama", key_value_heads=4, tied=True),
    "llama with biases, heads wider than the model": Decoder("llama", biased=True, head_width=32),
    "llama, rope_freqs": Decoder("llama", rotary_divisors=True),
    "llama, linear scaling": Decoder("llama", metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama, old linear key": Decoder("llama", metadata={"rope.scale_linear": 2.0}),
    "llama, scaling off": Decoder("llama", metadata={"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
    "llama, head widths unsaid": Decoder(
        "llama", metadata={"attention.key_length": None, "attention.value_length": None}
    ),
    "llama, another base": Decoder("llama", metadata={"rope.freq_base": 500000.0}),
    "qwen2": Decoder("qwen2", biased=True, tied=True, metadata={"rope.freq_base": 1000000.0}),
    "qwen2, yarn": Decoder(
        "qwen2",
        biased=True,
        metadata={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
            "rope.scaling.attn_factor": 0.9,
        },
    ),
    "qwen3": Decoder("qwen3", head_width=32),
    "qwen3, yarn": Decoder("qwen3", metadata={"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0}),
    "llama, experts": Decoder("llama", experts=8),
    "qwen2moe": Decoder(
        "qwen2moe", biased=True, experts=6, metadata={"expert_feed_forward_length": 48, "rope.freq_base": 1000000.0}
    ),
    "qwen2moe, widths unsaid": Decoder("qwen2moe", experts=6),
    "qwen3moe": Decoder("qwen3moe", experts=8, head_width=32, metadata={"expert_feed_forward_length": 48}),
    "gemma2": Decoder("gemma2", tied=True, metadata={"attention.sliding_window": 16}),
    "gemma2, caps of its own, window unsaid": Decoder(
        "gemma2",
        tied=True,
        layers=4,
        metadata={"attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5, "rope.scaling.factor": 2.0},
    ),
    "gemma2, the largest": Decoder(
        "gemma2", tied=True, layers=46, head_width=32, metadata={"attention.sliding_window": 16}
    ),
    "gemma3": Decoder(
        "gemma3", tied=True, layers=7, metadata={"attention.sliding_window": 16, "rope.freq_base": 1000000.0}
    ),
    "gemma3, scaled, a pattern and a local base of its own": Decoder(
        "gemma3",
        layers=3,
        metadata={
            "attention.sliding_window": 9,
            "attention.sliding_window_pattern": [False, True, True],
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "rope.freq_base_swa": 5000.0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma3, every second layer": Decoder(
        "gemma3",
        layers=4,
        tied=True,
        metadata={"attention.sliding_window": 33, "attention.sliding_window_pattern": 2},
    ),
    "gemma3 without a window": Decoder("gemma3", tied=True, metadata={"rope.freq_base": 1000000.0}),
    "phi3": Decoder("phi3", fused=True, metadata={"attention.sliding_window": 16}),
    "phi3, three matrices": Decoder("phi3", tied=True),
    "phi3, heads half rotated": Decoder("phi3", fused=True, metadata={"rope.dimension_count": 8}),
    "phi3, short factors": Decoder(
        "phi3",
        fused=True,
        long_divisors=8,
        metadata={"rope.scaling.original_context_length": 1024, "rope.scaling.attn_factor": 1.2},
    ),
    "phi3, long factors": Decoder(
        "phi3",
        fused=True,
        long_divisors=6,
        metadata={
            "rope.dimension_count": 12,
            "rope.scaling.original_context_length": 64,
            "rope.scaling.attn_factor": 1.2,
        },
    ),
    "gemma": Decoder("gemma", tied=True, head_width=32),
    "starcoder2": Decoder("starcoder2"),
    "exaone, rope_freqs": Decoder("exaone", rotary_divisors=True, metadata={"rope.dimension_count": 16}),
    "internlm2": Decoder("internlm2", metadata={"rope.freq_base": 1000000.0}),
    "glm4, heads half rotated": Decoder("glm4", biased=True, metadata={"rope.dimension_count": 8}),
    "llama, long factors": Decoder(
        "llama",
        long_divisors=8,
        metadata={
            "rope.scaling.type": "longrope",
            "rope.scaling.original_context_length": 64,
            "rope.scaling.attn_factor": 1.2,
        },
    ),
    "gpt2": Decoder("gpt2", key_value_heads=4, fused=True, tied=True),
    "gpt2 with an output matrix": Decoder("gpt2", key_value_heads=4, fused=True),
}

SUMS = 1e-11
"""Normalized squared error: float32 sums in another order."""
TABLED_GELU = 3e-6
"""The same, where ggml looks GELU up in a table of float16 (ggml_vec_gelu_f32): 46 layers of it reach 1.3e-6."""
ROUNDED_ACTIVATIONS = 1e-3
"""The same: a sum in another order moves some activations by one step of their eight bits, and later layers amplify it.
The products themselves are compared in tests/dots.
"""
REORDERED_SUMS = 1e-4
"""Logits are near one; float32 sums in another order move them by some 1e-6."""


def normalized_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.square(found - expected).sum() / np.square(expected).sum())


@pytest.mark.parametrize("name", DECODERS)
def test_logits_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    decoder = DECODERS[name]
    path = write(tmp_path / "model.gguf", decoder, weights(decoder))
    text = tokens(100)
    expected = oracle.Model(path, exact=True).logits(text)
    actual = from_model(open_model(path)).logits(text)
    assert normalized_error(actual, expected) < (TABLED_GELU if FAMILIES[decoder.architecture].gelu else SUMS)


@pytest.mark.parametrize("type_", [GgmlType[name.upper()] for name in plugins.names("dots")])
def test_block_types_run_with_activations_rounded_as_llama_cpp_rounds_them(type_: GgmlType, tmp_path: Path) -> None:
    decoder = Decoder("qwen3", width=256, heads=8, head_width=32, feed_forward=512)
    blocks = write(tmp_path / "blocks.gguf", decoder, weights(decoder), lambda name: type_)
    expected = oracle.Model(blocks, exact=True).logits(tokens(64))
    found = from_model(open_model(blocks)).logits(tokens(64))
    assert normalized_error(found, expected) < ROUNDED_ACTIVATIONS


@pytest.mark.parametrize("type_", [GgmlType.Q8_0, GgmlType.Q4_K])
def test_experts_of_block_types_run_each_from_its_own_rows(type_: GgmlType, tmp_path: Path) -> None:
    decoder = Decoder("qwen2moe", width=256, head_width=64, feed_forward=256, experts=4, expert_feed_forward=256,
                      metadata={"expert_feed_forward_length": 256})  # fmt: skip
    path = write(tmp_path / "model.gguf", decoder, weights(decoder), lambda name: type_ if "exps" in name else F32)
    expected = oracle.Model(path, exact=True).logits(tokens(64))
    assert normalized_error(from_model(open_model(path)).logits(tokens(64)), expected) < ROUNDED_ACTIVATIONS


@pytest.mark.parametrize("name", ["llama", "llama, experts", "gemma2", "gemma3", "phi3, long factors", "gpt2"])
def test_a_cached_text_continues_as_if_it_were_whole(name: str, tmp_path: Path) -> None:
    transformer = from_model(open_model(write(tmp_path / "model.gguf", DECODERS[name], weights(DECODERS[name]))))
    text = tokens(90)
    cache = Cache(transformer.hyperparameters, 90)
    pieces = [transformer.logits(piece, cache) for piece in np.split(text, [37, 38, 50])]
    assert np.abs(np.concatenate(pieces) - transformer.logits(text)).max() < REORDERED_SUMS
    assert cache.length == 90


def test_a_text_longer_than_the_original_context_turns_by_the_long_factors(tmp_path: Path) -> None:
    decoder = DECODERS["phi3, long factors"]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    roomy, tight = (Cache(transformer.hyperparameters, room) for room in (65, 64))
    expected = transformer.logits(tokens(65))[:64]
    assert np.abs(transformer.logits(tokens(64), roomy) - expected).max() < REORDERED_SUMS
    assert np.abs(transformer.logits(tokens(64), tight) - expected).max() > 100 * REORDERED_SUMS


def test_texts_run_together_do_not_see_each_other(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)))
    texts = tokens(120).reshape(3, 40)
    together = transformer.logits(texts)
    apart = np.stack([transformer.logits(text) for text in texts])
    assert together.shape == (3, 40, 96)
    assert np.abs(together - apart).max() < REORDERED_SUMS


def test_a_text_without_a_cache_leaves_the_caches_of_others_alone(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)))
    cache = Cache(transformer.hyperparameters, 40)
    transformer.logits(tokens(40), cache)
    kept = cache.keys.copy()
    transformer.logits(tokens(80)[40:])
    assert cache.length == 40
    assert np.array_equal(kept, cache.keys)


def test_logits_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    model = open_model(small(tmp_path))
    assert np.array_equal(
        from_model(model, threads=1).logits(tokens(40)), from_model(model, threads=3).logits(tokens(40))
    )


def test_a_token_outside_the_vocabulary_is_named(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)))
    with pytest.raises(InputError, match="token 96 is not in a vocabulary of 96"):
        transformer.logits(np.array([1, 96]))


def test_learned_positions_end_where_their_table_ends(tmp_path: Path) -> None:
    decoder = DECODERS["gpt2"]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    with pytest.raises(InputError, match="the model has 128 positions, 129 are needed"):
        transformer.logits(tokens(129))


def test_a_cache_too_small_names_both_sizes(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)))
    with pytest.raises(ValueError, match="a cache of 1 x 8 cannot hold 1 x 9"):
        transformer.logits(tokens(9), Cache(transformer.hyperparameters, 8))
