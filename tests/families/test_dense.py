"""Metadata and tensors of every family equal llama.cpp's converter's, of checkpoints that transformers made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, recipe
from tests import checkpoints, oracle
from tests.families.test_converter import DECIDED_BY_THE_RECIPE, as_golden, f32_bytes
from tests.golden.converter.make_golden import digest
from tests.golden.families.variants import VARIANTS, build, golden
from tests.tokenizers.converted import convert

_EPSILON = {
    "exaone.attention.layer_norm_epsilon": "llama.cpp does not read the converter's key in this architecture",
    "exaone.attention.layer_norm_rms_epsilon": "and loads no file without this one",
}
_ALWAYS_SHORT = "without it llama.cpp never takes the factors for long contexts"
DELIBERATE: dict[str, dict[str, str]] = {
    "llama-longrope": {
        "llama.rope.scaling.original_context_length": _ALWAYS_SHORT,
        "llama.rope.scaling.attn_factor": "transformers multiplies cosines and sines by it",
    },
    "gemma2-scaled": {"gemma2.attention.scale": "transformers scales scores by it; our own runtime reads it"},
    "gemma3-other-layers": {
        "gemma3.attention.sliding_window_pattern": "the converter drops a pattern that is not llama.cpp's own"
    },
    "exaone": _EPSILON,
    "exaone-llama3-tied": _EPSILON,
    "minicpm-longrope-untied": {
        "minicpm.rope.scaling.original_context_length": _ALWAYS_SHORT,
        "minicpm.rope.scaling.attn_factor": "the model's own code multiplies cosines and sines by it",
    },
}
"""By variant, the keys that differ, and why."""
ADDED = {"llama-longrope": ["rope_factors_long.weight", "rope_factors_short.weight"]}
"""By variant, tensors that the converter leaves out, though llama.cpp loads them: the model would compute otherwise."""


FAMILIES_ONCE = [*(name for name in VARIANTS if "-" not in name), "gemma3-wrapped"]
_SAID = {"rope_scaling": "rope type 'yarn-like'", "partial_rotary_factor": "'partial_rotary_factor' is 2.0"}


def is_of_text(name: str) -> bool:
    return not name.startswith(("vision_tower.", "multi_modal_projector."))


def tensors_of(model: Model) -> dict[str, Any]:
    """Shape, type and digest of each tensor in float32 and as the mix f16 has it, as golden files have them."""
    described = {}
    for step in plan.make(model, recipe.named("f16")).steps:
        tensor = step.tensor
        rows = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
        half = digest(quants.encode(step.type, rows).tobytes())
        described[tensor.name] = {
            "shape": list(tensor.shape),
            "f32": ["F32", digest(f32_bytes(tensor))],
            "f16": [step.type.name, half],
        }
    return described


@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_becomes_what_the_converter_makes_of_it(name: str, tmp_path: Path) -> None:
    model, expected = open_model(build(name, tmp_path / name)), golden(name)
    skipped = DECIDED_BY_THE_RECIPE | set(DELIBERATE.get(name, {}))
    metadata = {key: as_golden(value) for key, value in model.metadata.items() if key not in skipped}
    assert {key: value for key, value in expected["metadata"].items() if key not in skipped} == metadata
    assert [*ADDED.get(name, []), *expected["tensors"]] == [tensor.name for tensor in model.tensors]
    described = tensors_of(model)
    assert expected["tensors"] == {key: described[key] for key in described if key not in ADDED.get(name, [])}


@pytest.mark.parametrize("name", FAMILIES_ONCE)
def test_a_tensor_without_a_place_is_named(name: str, tmp_path: Path) -> None:
    build(name, tmp_path, tensors={"score.weight": np.zeros((2, 64), np.float32)})
    with pytest.raises(InputError, match=r"model\.safetensors: tensor 'score\.weight' has no place"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", FAMILIES_ONCE)
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    missing = [key for key in golden(name)["stored"] if is_of_text(key)][-1]
    build(name, tmp_path, tensors={missing: None})
    with pytest.raises(InputError, match=r"tensor '.*' is missing from the checkpoint"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", FAMILIES_ONCE)
def test_a_wrong_shape_is_told_with_the_right_one(name: str, tmp_path: Path) -> None:
    stored = golden(name)["stored"]
    wrong = next(key for key in reversed(stored) if len(stored[key]) == 2 and is_of_text(key))
    build(name, tmp_path, tensors={wrong: np.zeros((65, 7), np.float32)})
    with pytest.raises(InputError, match=rf"has shape \[65, 7\], the config says \[{stored[wrong][0]}, "):
        open_model(tmp_path)


@pytest.mark.parametrize("name", FAMILIES_ONCE)
def test_unknown_keys_are_named_and_known_ones_are_no_news(name: str, tmp_path: Path) -> None:
    told = [text for text in open_model(build(name, tmp_path / "a")).warnings if "nothing is known of" in text]
    assert told == []
    warnings = open_model(build(name, tmp_path / "b", config={"made_up": 1})).warnings
    assert [text for text in warnings if "made_up" in text] == [
        "config.json: nothing is known of key 'made_up': what it changes is not in the file"
    ]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("gemma", "tie_word_embeddings", False), ("gemma2", "hidden_activation", "silu"),
        ("starcoder2", "use_bias", False), ("gpt_neox", "attention_bias", False), ("stablelm", "hidden_act", "gelu"),
        ("olmo", "attention_bias", True), ("granite", "hidden_act", "relu"), ("cohere", "tie_word_embeddings", False),
        ("cohere", "use_qk_norm", True), ("cohere2", "attention_bias", True), ("falcon", "alibi", True),
        ("falcon", "parallel_attn", False), ("smollm3", "no_rope_layers", [1, 1, 1, 1, 1]),
        ("mpt", "norm_type", "rmsnorm"), ("bloom", "apply_residual_connection_post_layernorm", True),
        ("internlm2", "bias", True), ("exaone", "rope_scaling", {"rope_type": "yarn-like"}),
        ("glm4", "partial_rotary_factor", 2.0), ("minicpm", "num_experts", 8),
        ("gemma3", "layer_types", ["full_attention"]),
    ],
)  # fmt: skip
def test_what_llama_cpp_cannot_compute_is_refused_by_key(name: str, key: str, value: Any, tmp_path: Path) -> None:
    config = {key: value, **({"rope_parameters": None} if key == "partial_rotary_factor" else {})}
    with pytest.raises(InputError, match=r"^config\.json: ") as caught:
        open_model(build(name, tmp_path, config=config))
    assert _SAID.get(key, f"key '{key}' is ") in str(caught.value)


def test_factors_for_long_contexts_are_as_many_as_pairs(tmp_path: Path) -> None:
    few = {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
    with pytest.raises(InputError, match="key 'long_factor' has length 1, not one number for each of 8 pairs"):
        open_model(build("phi3-longrope-bf16", tmp_path, config={"rope_scaling": few}))


@pytest.mark.parametrize("name", ["gpt_neox", "phi", "stablelm", "olmo2", "internlm2", "qwen2_moe", "olmoe"])
def test_an_output_is_written_where_llama_cpp_asks_for_one(name: str, tmp_path: Path) -> None:
    head = {"gpt_neox": "embed_out.weight", "internlm2": "output.weight"}.get(name, "lm_head.weight")
    model = open_model(build(name, tmp_path, config={"tie_word_embeddings": True}, tensors={head: None}))
    tensors = {tensor.name: tensor for tensor in model.tensors}
    assert np.array_equal(tensors["output.weight"].read(0, 9), tensors["token_embd.weight"].read(0, 9))


@pytest.mark.parametrize("spelled", ["model.language_model.", "language_model.model.", "model."])
def test_the_text_model_of_a_wrapper_is_found_by_any_spelling(spelled: str, tmp_path: Path) -> None:
    stored = golden("gemma3-wrapped")["stored"]
    moved: dict[str, np.ndarray | None] = {}
    for name, shape in stored.items():
        if "language_model" in name:
            weights = checkpoints.numbers(name, tuple(shape))
            moved |= {name: None, name.replace("language_model.model.", spelled): weights}
    model = open_model(build("gemma3-wrapped", tmp_path, tensors=moved))
    assert len(model.tensors) == len([name for name in stored if "language_model" in name])
    assert "only the text model is converted: what reads images is left out" in model.warnings


def test_the_norms_of_heads_become_one_matrix(tmp_path: Path) -> None:
    """llama.cpp's converter cannot: it gives nothing for the last of them."""
    names = {
        f"model.layers.{layer}.self_attn.{kind}_layernorm.norms.{head}.weight"
        for layer in range(2) for kind, heads in (("q", 4), ("k", 2)) for head in range(heads)
    }  # fmt: skip
    norms: dict[str, np.ndarray | None] = {name: checkpoints.numbers(name, (16,)) for name in names}
    model = open_model(build("stablelm", tmp_path / "a", config={"qk_layernorm": True}, tensors=norms))
    (norm,) = (tensor for tensor in model.tensors if tensor.name == "blk.1.attn_k_norm.weight")
    expected = [norms[f"model.layers.1.self_attn.k_layernorm.norms.{head}.weight"] for head in range(2)]
    assert np.array_equal(norm.read(0, 2), np.stack([row for row in expected if row is not None]))
    convert(tmp_path / "a", tmp_path / "a.gguf")
    assert np.isfinite(oracle.Model(tmp_path / "a.gguf").logits(np.arange(8, dtype=np.int32))).all()
    spoiled = {**norms, "model.layers.0.self_attn.k_layernorm.norms.1.weight": None}
    checkpoint = build("stablelm", tmp_path / "b", config={"qk_layernorm": True}, tensors=spoiled)
    with pytest.raises(InputError, match="are of 1 heads, not of all 2"):
        open_model(checkpoint)
