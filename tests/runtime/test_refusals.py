"""What would be computed wrong is not computed: settings and tensors the runtime does not know are named."""

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import from_model
from tests.runtime.synthetic import Decoder, small, weights, write

REFUSED_SETTINGS = {
    "expert_count": (8, "'llama.expert_used_count' is missing"),
    "nextn_predict_layers": (1, "'llama.nextn_predict_layers' is 1"),
    "attention.clamp_kqv": (8.0, "'llama.attention.clamp_kqv' is 8.0"),
    "logit_scale": (0.5, "'llama.logit_scale' is 0.5"),
    "attn_logit_softcapping": (50.0, "'llama.attn_logit_softcapping' is 50.0"),
    "final_logit_softcapping": (30.0, "'llama.final_logit_softcapping' is 30.0"),
    "rope.freq_base_swa": (5000.0, "'llama.rope.freq_base_swa' is 5000.0"),
    "rope.scaling.yarn_beta_fast": (16.0, "'llama.rope.scaling.yarn_beta_fast' is 16.0"),
    "rope.dimension_count_swa": (8, "'llama.rope.dimension_count_swa' is 8, elsewhere 0"),
    "attention.causal": (False, "'llama.attention.causal' is false"),
    "attention.value_length": (8, "heads of 16 key and 8 value columns"),
    "attention.head_count_kv": (3, "4 heads cannot share 3 key-value heads evenly"),
    "attention.head_count": (0, "'llama.attention.head_count' is 0, not a whole number from 1"),
    "block_count": ("two", "'llama.block_count' is 'two', not a whole number"),
    "rope.scaling.type": ("made-up", "cannot run rotary scaling 'made-up'"),
    "rope.dimension_count": (8, "cannot rotate 8 of 16 columns"),
    "rope.scaling.factor": (-2.0, "base 10000.0 and scaling factor -2.0"),
    "rope.freq_base": ("high", "'llama.rope.freq_base' is 'high', not a number"),
    "embedding_length": (32, r"tensor 'token_embd.weight' has shape \(96, 64\), its metadata says \(96, 32\)"),
    "feed_forward_length": (64, r"has shape \(96, 64\), its metadata says \(64, 64\)"),
}


@pytest.mark.parametrize("key", REFUSED_SETTINGS)
def test_a_setting_the_runtime_would_get_wrong_is_refused(key: str, tmp_path: Path) -> None:
    value, message = REFUSED_SETTINGS[key]
    with pytest.raises((FormatError, InputError), match=message):
        from_model(open_model(small(tmp_path, metadata={key: value})))


_UNSTATED = {"attention.key_length": None, "attention.value_length": None}
HOSTILE: dict[str, dict[str, Any]] = {
    "'llama.block_count' is 536870912, not a whole number from 1 to 21": {"block_count": 1 << 29},
    "63 columns cannot be shared by 4 heads evenly": {"embedding_length": 63, **_UNSTATED},
    "64 columns cannot be shared by 65 heads evenly": {"attention.head_count": 65, **_UNSTATED},
    "'llama.attention.key_length' is 2147483648, not a whole number": {"attention.key_length": 1 << 31},
    "'llama.context_length' is 2147483648, not a whole number": {"context_length": 1 << 31},
    "'llama.attention.scale' is an array of 2": {"attention.scale": [True, False]},
    "'llama.attention.layer_norm_rms_epsilon' is nan, not": {"attention.layer_norm_rms_epsilon": float("nan")},
    "'llama.rope.scaling.attn_factor' is inf, not a number": {"rope.scaling.attn_factor": float("inf")},
    "'llama.rope.freq_base' is nan, not a number": {"rope.freq_base": float("nan")},
    "scaling factor 9.313225746154785e-10": {"rope.scaling.factor": 2.0**-30},
    "'llama.attention.causal' is 'no', not true or false": {"attention.causal": "no"},
    "'llama.expert_count' is 4096, not a whole number from 0 to 512": {"expert_count": 4096},
}


@pytest.mark.parametrize("message", HOSTILE)
def test_a_value_of_another_kind_or_beyond_its_range_is_refused(message: str, tmp_path: Path) -> None:
    with pytest.raises((FormatError, InputError), match=message):
        from_model(open_model(small(tmp_path, metadata=HOSTILE[message])))


def test_a_width_that_no_tensor_bears_out_takes_no_memory(tmp_path: Path) -> None:
    """Before the tensors were looked at, there was room for the angles of a head as wide as the file said."""
    wide = {"attention.key_length": 1 << 30, "attention.value_length": 1 << 30}
    with pytest.raises(InputError, match=r"its metadata says \(4294967296, 64\)"):
        from_model(open_model(small(tmp_path, metadata=wide)))


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf"), -1.0])
def test_rotary_divisors_that_divide_nothing_are_refused(factor: float, tmp_path: Path) -> None:
    decoder = Decoder("llama", rotary_divisors=True)
    tensors = weights(decoder)
    tensors["rope_freqs.weight"][3] = factor
    with pytest.raises(InputError, match=r"freqs factors|rope_freqs"):
        from_model(open_model(write(tmp_path / "model.gguf", decoder, tensors)))


def test_numbers_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path)
    content = path.read_bytes()
    norm = b"blk.0.attn_norm.weight" + struct.pack("<IQ", 1, 64)
    at = content.index(norm) + len(norm)
    path.write_bytes(content[:at] + struct.pack("<I", GgmlType.I32) + content[at + 4 :])
    with pytest.raises(InputError, match=r"tensor 'blk.0.attn_norm.weight' is of type i32, which cannot be run"):
        from_model(open_model(path))


REFUSED_MIXTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "more used than there are": ("llama", {"expert_used_count": 9}, "9 of 8 experts cannot be used"),
    "groups": ("qwen3moe", {"expert_group_count": 2}, "'qwen3moe.expert_group_count' is 2"),
    "sigmoid gates": ("qwen3moe", {"expert_gating_func": 2}, "'qwen3moe.expert_gating_func' is 2"),
    "weighted": ("llama", {"expert_weights_scale": 2.5}, "'llama.expert_weights_scale' is 2.5"),
    "none": ("qwen3moe", {"expert_count": 0}, "2 of 0 experts cannot be used"),
    "where there are none": ("qwen2", {}, "'qwen2.expert_count' is 8"),
    "another width": (
        "llama",
        {"feed_forward_length": 64},
        r"has shape \(8, 96, 64\), its metadata says \(8, 64, 64\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED_MIXTURES)
def test_a_mixture_the_runtime_would_get_wrong_is_refused(name: str, tmp_path: Path) -> None:
    architecture, metadata, message = REFUSED_MIXTURES[name]
    decoder = Decoder(architecture, experts=8, metadata=metadata)
    tensors = weights(dataclasses.replace(decoder, metadata={}))
    with pytest.raises((FormatError, InputError), match=message):
        from_model(open_model(write(tmp_path / "model.gguf", decoder, tensors)))


REFUSED_WINDOWS: dict[str, tuple[dict[str, Any], str]] = {
    "pattern of other layers": ({"attention.sliding_window_pattern": [True]}, "has 1 entries for 2 layers"),
    "cap without end": ({"final_logit_softcapping": float("inf")}, "'gemma3.final_logit_softcapping' is inf"),
    "yarn beside unscaled layers": (
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0},
        "'yarn' beside layers that are not scaled",
    ),
    "local base": ({"rope.freq_base_swa": 0.5}, "cannot rotate with base 0.5"),
    "other columns": ({"rope.dimension_count": 18}, "cannot rotate 18 of 16 columns"),
    "no pairs": ({"rope.dimension_count": 7}, "cannot rotate pairs of a head's 7 columns"),
}


@pytest.mark.parametrize("name", REFUSED_WINDOWS)
def test_a_window_the_runtime_would_get_wrong_is_refused(name: str, tmp_path: Path) -> None:
    metadata, message = REFUSED_WINDOWS[name]
    decoder = Decoder("gemma3", metadata={"attention.sliding_window": 8, **metadata})
    with pytest.raises((FormatError, InputError), match=message):
        from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))


@pytest.mark.parametrize("base", [0.0, 1.0])
def test_a_rotary_base_without_a_rotation_is_refused(base: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot rotate with base {base}"):
        from_model(open_model(small(tmp_path, metadata={"rope.freq_base": base})))


def test_heads_that_have_no_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot rotate pairs of a head's 15 columns"):
        from_model(open_model(small(tmp_path, head_width=15)))


def test_no_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no tokens to run"):
        from_model(open_model(small(tmp_path))).logits(np.array([], np.int32))


def test_an_unknown_architecture_is_named_and_escaped(tmp_path: Path) -> None:
    decoder = Decoder("mamba\x1b")
    with pytest.raises(InputError, match=r"cannot run architecture 'mamba\\x1b'"):
        from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))


@pytest.mark.parametrize("name", ["token_embd.weight", "blk.1.ffn_up.weight", "blk.0.attn_norm.weight"])
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    tensors = weights(Decoder("llama"))
    del tensors[name]
    with pytest.raises(InputError, match=f"tensor '{name}' is missing"):
        from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), tensors)))


def test_a_tensor_the_runtime_would_ignore_is_refused(tmp_path: Path) -> None:
    tensors = weights(Decoder("llama")) | {"blk.0.ffn_gate_inp.weight": np.zeros((4, 64), np.float32)}
    with pytest.raises(InputError, match=r"tensor 'blk.0.ffn_gate_inp.weight' has no place"):
        from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), tensors)))


def test_rotary_divisors_are_refused_where_llama_cpp_has_none(tmp_path: Path) -> None:
    decoder = Decoder("qwen2", rotary_divisors=True)
    with pytest.raises(InputError, match=r"tensor 'rope_freqs.weight' has no place"):
        from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"metadata key 'llama.context_length' is missing"):
        from_model(open_model(small(tmp_path, metadata={"context_length": None})))
