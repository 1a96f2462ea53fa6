"""A checkpoint that is not what its config says is refused, with the tensor and both shapes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.rope import frequency_factors, parameters
from quantize_cli.formats.errors import FormatError
from quantize_cli.model.source import open_model
from tests import checkpoints

NORM = {"gpt2": "transformer.h.1.ln_1.weight"}


def norm_of(family: str) -> str:
    return NORM.get(family, "model.layers.1.input_layernorm.weight")


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_tensor_without_a_place_is_named(family: str, tmp_path: Path) -> None:
    checkpoints.build(family, tmp_path, tensors={"score.weight": np.zeros((2, 64), np.float32)})
    with pytest.raises(InputError, match=r"model\.safetensors: tensor 'score\.weight' has no place"):
        open_model(tmp_path)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_missing_tensor_is_named(family: str, tmp_path: Path) -> None:
    checkpoints.build(family, tmp_path, tensors={norm_of(family): None})
    stripped = norm_of(family).partition(".")[2]
    with pytest.raises(InputError, match=rf"tensor '{stripped}' is missing"):
        open_model(tmp_path)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_wrong_shape_is_told_with_the_right_one(family: str, tmp_path: Path) -> None:
    checkpoints.build(family, tmp_path, tensors={norm_of(family): np.zeros(65, np.float32)})
    with pytest.raises(InputError, match=rf"tensor '{norm_of(family)}' has shape \[65\], the config says \[64\]"):
        open_model(tmp_path)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_layer_beyond_the_config_is_told(family: str, tmp_path: Path) -> None:
    key = "n_layer" if family == "gpt2" else "num_hidden_layers"
    checkpoints.build(family, tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace(f'"{key}": 2', f'"{key}": 1'))
    with pytest.raises(InputError, match="is of layer 1, the config has 1 layers"):
        open_model(tmp_path)


def test_an_output_is_missed_only_where_the_model_has_one_of_its_own(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, tensors={"lm_head.weight": None})
    with pytest.raises(InputError, match=r"tensor 'lm_head\.weight' is missing"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.layers.00.mlp.up_proj.weight", "model.layers.{}.mlp.up_proj.weight", "model.norm.weight\x1b[31m"]
)
def test_odd_names_are_refused_and_shown_escaped(name: str, tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, tensors={name: np.zeros((96, 64), np.float32)})
    with pytest.raises(InputError) as caught:
        open_model(tmp_path)
    assert str(caught.value).isprintable()


def test_two_names_for_one_place_are_refused(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, tensors={"norm.weight": np.zeros(64, np.float32)})
    with pytest.raises(InputError, match=r"would both become 'output_norm\.weight'"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "64"),
        ("num_attention_heads", 0),
        ("num_attention_heads", True),
        ("num_hidden_layers", 1 << 40),
        ("rms_norm_eps", "small"),
        ("rope_theta", [1]),
        ("head_dim", -8),
    ],
)
def test_a_config_value_of_the_wrong_kind_is_named(key: str, value: Any, tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(InputError, match=rf"config\.json: key '{key}' is '"):
        open_model(tmp_path)


@pytest.mark.parametrize("scaling", [{"rope_type": "longrope"}, {"type": "made-up"}, "linear"])
def test_a_rotary_scaling_we_cannot_express_is_refused(scaling: Any, tmp_path: Path) -> None:
    checkpoints.build("qwen2", tmp_path, config={"rope_scaling": scaling})
    with pytest.raises(InputError, match=r"config\.json: "):
        open_model(tmp_path)


def test_a_dtype_we_do_not_read_is_named(tmp_path: Path) -> None:
    flags = np.zeros((96, 64), bool)
    checkpoints.build("llama", tmp_path, tensors={"model.layers.0.mlp.up_proj.weight": flags})
    with pytest.raises(FormatError, match=r"up_proj\.weight' has dtype 'BOOL'"):
        open_model(tmp_path)


def test_rows_of_an_odd_head_make_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="30 rows do not divide into two halves for each of 2 heads"):
        open_model(checkpoints.build("llama", tmp_path, config={"head_dim": 15}))


def test_both_spellings_of_the_rope_are_one() -> None:
    old = {"max_position_embeddings": 9, "rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    new = {
        "max_position_embeddings": 9,
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0, "type": "linear"},
    }
    assert parameters(new) == parameters(old)


def test_frequency_factors_keep_short_waves_and_slow_long_ones() -> None:
    rope = parameters(
        {"max_position_embeddings": 8192, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8}}
    )
    factors = frequency_factors(rope, 128)
    assert factors is not None
    assert factors.dtype == np.dtype(np.float32)
    assert factors.shape == (64,)
    assert (factors[0], factors[-1]) == (1.0, 8.0)
    assert np.all(np.diff(factors) >= 0)
