"""Every key of config.json is converted, known to be idle, refused by name and value, or named in a warning."""

import json
from math import log
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.rope import metadata, parameters
from quantize_cli.model.source import Model, open_model
from tests import checkpoints

DECODERS = tuple(family for family in checkpoints.FAMILIES if family != "gpt2")
LONG = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def opened(family: str, directory: Path, **config: Any) -> Model:
    return open_model(checkpoints.build(family, directory, config={"sliding_window": None, **config}))


def told(model: Model) -> list[str]:
    """Its warnings of the configuration: those of the tokenizer are another matter."""
    return [warning for warning in model.warnings if "tokenizer.json" not in warning]


def refused(family: str, directory: Path, **config: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        opened(family, directory, **config)
    assert str(caught.value).startswith("config.json: ")
    return caught.value


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_what_everyone_writes_is_no_news(family: str, tmp_path: Path) -> None:
    keys = {
        "torch_dtype": "float32", "dtype": "float32", "transformers_version": "5.1.0", "use_cache": True,
        "initializer_range": 0.02, "attention_dropout": 0.1, "bos_token_id": 1, "_attn_implementation": "sdpa",
        "unsloth_version": "2026.1", "pretraining_tp": 1, "id2label": {"0": "a"}, "nothing": None,
    }  # fmt: skip
    assert told(opened(family, tmp_path, **keys)) == []


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_unknown_keys_are_named_in_one_line(family: str, tmp_path: Path) -> None:
    (warning,) = told(opened(family, tmp_path, made_up=1, another=False, **{f"x{n}": n for n in range(9)}))
    assert warning.startswith("config.json: nothing is known of keys 'another', 'made_up', 'x0'")
    assert warning.endswith(" and 3 more: what they change is not in the file")


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("hidden_act", "relu", "silu or swish only"),
        ("hidden_act", ["silu"], "silu or swish only"),
        ("partial_rotary_factor", 0.5, "1.0 only"),
        ("logit_scale", 0.0625, "1.0 only"),
        ("use_qk_norm", True, "false only"),
        ("attn_logit_softcapping", 50.0, "no place"),
        ("layer_types", ["full_attention", "linear_attention"], "full_attention only"),
        ("is_encoder_decoder", True, "false only"),
    ],
)
def test_a_value_without_a_place_is_refused(family: str, key: str, value: Any, allowed: str, tmp_path: Path) -> None:
    message = str(refused(family, tmp_path, **{key: value}))
    assert f"key '{key}' is " in message
    assert allowed in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "relu"), ("scale_attn_by_inverse_layer_idx", True), ("scale_attn_weights", False),
        ("add_cross_attention", True),
    ],
)  # fmt: skip
def test_gpt2_is_refused_what_its_graph_cannot_compute(key: str, value: Any, tmp_path: Path) -> None:
    error = refused("gpt2", tmp_path, **{key: value})
    assert f"key '{key}' is '{str(value).lower()}', llama.cpp's 'gpt2' computes with" in str(error)
    assert "if the model's own code ignores the key, remove it" in (error.hint or "")


@pytest.mark.parametrize("spelling", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", None])
def test_spellings_of_one_function_are_one(spelling: str | None, tmp_path: Path) -> None:
    assert opened("gpt2", tmp_path, activation_function=spelling, reorder_and_upcast_attn=True).warnings == ()


def test_an_approximation_is_said(tmp_path: Path) -> None:
    (warning,) = opened("gpt2", tmp_path, activation_function="gelu").warnings
    assert warning == "config.json: key 'activation_function' is 'gelu', llama.cpp computes it by the tanh formula"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize("more", [{}, {"max_window_layers": 1}, {"layer_types": ["sliding_attention"]}])
def test_a_window_in_use_is_refused(family: str, more: dict[str, Any], tmp_path: Path) -> None:
    error = refused(family, tmp_path, sliding_window=64, use_sliding_window=True, **more)
    assert "key 'sliding_window' is '64' and in use" in str(error)
    assert error.hint == "without 'use_sliding_window' the model is the same up to 64 tokens"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    "keys",
    [
        {"use_sliding_window": False}, {"use_sliding_window": True, "max_window_layers": 2},
        {"use_sliding_window": True, "layer_types": ["full_attention"] * 2},
        {"use_sliding_window": True, "sliding_window": 128},
    ],
)  # fmt: skip
def test_a_window_that_no_layer_has_changes_nothing(family: str, keys: dict[str, Any], tmp_path: Path) -> None:
    assert told(opened(family, tmp_path, **{"sliding_window": 64, **keys})) == []


def test_mistral_is_the_same_up_to_its_window(tmp_path: Path) -> None:
    (warning,) = open_model(checkpoints.build("mistral", tmp_path, config={"sliding_window": 64})).warnings
    assert "'sliding_window' is 64" in warning
    assert warning.endswith("the same up to 64 tokens")
    assert open_model(checkpoints.build("mistral", tmp_path, config={"sliding_window": 128})).warnings == ()


def test_a_head_width_that_qwen2_has_no_place_for_is_refused(tmp_path: Path) -> None:
    assert "'head_dim' is '32', llama.cpp's 'qwen2' computes with 16 only" in str(
        refused("qwen2", tmp_path, head_dim=32)
    )


@pytest.mark.parametrize("keys", [{"num_key_value_heads": 3}, {"head_dim": 15}])
def test_heads_that_cannot_be_shared_or_rotated_are_refused(keys: dict[str, Any], tmp_path: Path) -> None:
    refused("qwen3", tmp_path, **keys)


def test_a_tie_that_is_no_switch_is_refused(tmp_path: Path) -> None:
    assert "'tie_word_embeddings' is 'yes', neither true nor false" in str(
        refused("llama", tmp_path, tie_word_embeddings="yes")
    )


def rope(**stated: Any) -> dict[str, Any]:
    config = {"max_position_embeddings": 128, "rope_scaling": stated}
    return {key: value.data for key, value in metadata("qwen2", parameters(config), 128).items()}


def test_a_dynamic_rope_is_a_warning_that_says_what_stays_the_same(tmp_path: Path) -> None:
    (warning,) = told(opened("llama", tmp_path, rope_scaling={"type": "dynamic", "factor": 2.0}))
    assert warning == "config.json: rope type 'dynamic' has no key in the file: the model is the same up to 128 tokens"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_divisors_are_refused_where_llama_cpp_loads_none(family: str, tmp_path: Path) -> None:
    assert "rope type 'llama3'" in str(refused(family, tmp_path, rope_scaling={"rope_type": "llama3", "factor": 8.0}))


@pytest.mark.parametrize(
    ("keys", "magnitude"),
    [
        ({}, None), ({"attention_factor": 0.1 * log(4) + 1}, None), ({"beta_fast": 32, "beta_slow": 1}, None),
        ({"attention_factor": 1.0}, 1 / 1.138629436), ({"attn_factor": 2.0}, 2.0),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1 / 1.138629436), ({"mscale": 0.7, "mscale_all_dim": 0.0}, None),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, 1.277258872 / 1.138629436**2),
    ],
)  # fmt: skip
def test_yarns_magnitude_is_a_factor_of_llama_cpps_own(keys: dict[str, Any], magnitude: float | None) -> None:
    found = rope(**LONG, **keys).get("qwen2.rope.scaling.attn_factor")
    assert found == (None if magnitude is None else pytest.approx(magnitude))


@pytest.mark.parametrize("keys", [{"beta_fast": 16}, {"beta_slow": 2}, {"truncate": False}])
def test_yarns_ramp_is_llama_cpps_own(keys: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"key '{next(iter(keys))}' is "):
        rope(**LONG, **keys)


def test_yarns_factor_is_the_quotient_of_contexts_where_it_is_not_stated() -> None:
    assert rope(type="yarn", original_max_position_embeddings=32)["qwen2.rope.scaling.factor"] == 4.0


@pytest.mark.parametrize("factor", [None, 0, -1.0, "2"])
def test_a_stretch_by_no_number_is_refused(factor: Any) -> None:
    with pytest.raises(InputError, match="key 'factor'"):
        rope(type="linear", factor=factor)


def test_unknown_rotary_keys_are_a_warning(tmp_path: Path) -> None:
    (warning,) = opened("llama", tmp_path, rope_scaling={"type": "linear", "factor": 2.0, "new": 1}).warnings
    assert "key 'rope_scaling.new'" in warning


def test_the_new_spelling_is_read_whole(tmp_path: Path) -> None:
    stated = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    model = opened("qwen2", tmp_path, rope_theta=None, rope_parameters=stated)
    assert model.metadata["qwen2.rope.freq_base"].data == 5e5
    assert model.metadata["qwen2.rope.scaling.factor"].data == 2.0
    assert told(model) == []


def test_values_of_any_size_are_refused_in_one_short_line(tmp_path: Path) -> None:
    for key, value in (
        ("rms_norm_eps", [1] * 10_000),
        ("hidden_act", {"x": ["y" * 10_000] * 9}),
        ("rope_theta", 10**4000),
    ):
        assert len(str(refused("llama", tmp_path, **{key: value}))) < 400


def test_the_example_has_no_unknown_key() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "tiny-llama"
    assert json.loads((example / "config.json").read_text())["model_type"] == "llama"
    assert open_model(example).warnings == ()


@pytest.mark.parametrize("key", ["rope_theta", "factor", "low_freq_factor", "high_freq_factor"])
@pytest.mark.parametrize("value", [0, -10000.0, 1e-320, 1e29])
def test_rotary_numbers_that_nothing_is_divided_by_are_refused(key: str, value: float, tmp_path: Path) -> None:
    stretch = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config: dict[str, Any] = {"rope_scaling": {**stretch, "original_max_position_embeddings": 64}}
    (config if key == "rope_theta" else config["rope_scaling"])[key] = value
    assert f"'{key}' is" in str(refused("llama", tmp_path, **config))
