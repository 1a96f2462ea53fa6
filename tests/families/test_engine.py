"""What is written is what llama.cpp loads, and what is refused it would refuse."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.model.loadable_tensors import LOADED, not_loaded
from quantize_cli.model.source import open_model
from quantize_cli.runtime.family import FAMILIES
from tests import checkpoints, oracle
from tests.formats.build import gguf_bytes, string, tensor, value
from tests.runtime.synthetic import weights, write
from tests.runtime.test_transformer import DECODERS
from tests.tokenizers.converted import convert

_BIASES = {"q": 64, "k": 32, "v": 32, "o": 64}


def biases(parts: str) -> dict[str, np.ndarray | None]:
    names = [(f"model.layers.{layer}.self_attn.{part}_proj.bias", part) for layer in (0, 1) for part in parts]
    return {name: checkpoints.numbers(name, (_BIASES[part],)) for name, part in names}


def test_every_architecture_that_is_run_has_its_table() -> None:
    families = {plugins.load("families", name).ARCHITECTURE for name in plugins.names("families")}
    assert LOADED.keys() == FAMILIES.keys() | families
    assert not_loaded("another", ["anything"]) == []


@pytest.mark.parametrize("name", DECODERS)
def test_the_tables_hold_all_that_models_have(name: str) -> None:
    decoder = DECODERS[name]
    assert not_loaded(decoder.architecture, weights(decoder)) == []


def test_what_is_not_in_the_table_is_not_loaded() -> None:
    names = ["blk.0.attn_q.bias", "blk.0.attn_output.bias", "blk.7.attn_q.weight", "blk.00.attn_q.weight", "extra"]
    assert not_loaded("qwen3", names, layers=7) == names[1:]
    assert not_loaded("llama", ["blk.0.ffn_up.scale", "blk.0.ffn_up.input_scale", "output.scale"]) == []


def test_a_tensor_llama_cpp_has_no_place_for_is_refused(tmp_path: Path) -> None:
    checkpoints.build("qwen3", tmp_path, config={"head_dim": 16, "attention_bias": True})
    with pytest.raises(
        InputError, match=r"o_proj\.bias' would be 'blk\.0\.attn_output\.bias', which llama\.cpp does not"
    ):
        open_model(tmp_path)


def test_a_tensor_of_a_gguf_file_that_is_not_loaded_is_a_warning(tmp_path: Path) -> None:
    described = [value("general.architecture", 8, string("qwen3")), value("qwen3.block_count", 4, b"\1\0\0\0")]
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes(described, [tensor("blk.1.attn_q.weight", [8], 0)], bytes(32)))
    (warning,) = open_model(path).warnings
    assert "llama.cpp does not load tensor 'blk.1.attn_q.weight' in architecture 'qwen3'" in warning


@pytest.mark.parametrize(
    ("family", "config", "parts"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}, ""),
        ("llama", {}, "qkvo"),
        ("mistral", {"attention_bias": True, "head_dim": None}, "qkvo"),
        ("qwen2", {}, ""),
        ("qwen3", {"head_dim": 16}, "qkv"),
        ("gpt2", {"n_inner": 128}, ""),
    ],
)
def test_llama_cpp_loads_what_is_written(family: str, config: dict[str, object], parts: str, tmp_path: Path) -> None:
    checkpoint = checkpoints.build(family, tmp_path / "m", config=config, tensors=biases(parts))
    convert(checkpoint, tmp_path / "m.gguf")
    assert np.isfinite(oracle.Model(tmp_path / "m.gguf").logits(np.arange(8, dtype=np.int32))).all()


@pytest.mark.parametrize(
    ("name", "extra"),
    [("llama", "blk.0.attn_q_norm.weight"), ("qwen2", "blk.0.attn_output.bias"), ("gpt2", "output.bias")],
)
def test_llama_cpp_refuses_what_is_not_in_the_table(name: str, extra: str, tmp_path: Path) -> None:
    tensors = {**weights(DECODERS[name]), extra: np.ones(16, np.float32)}
    assert not_loaded(DECODERS[name].architecture, tensors) == [extra]
    with pytest.raises(AssertionError, match=r"llama\.cpp does not load"):
        oracle.Model(write(tmp_path / "model.gguf", DECODERS[name], tensors))
