"""Metadata and tensors equal llama.cpp's converter's, which wrote down what it made of the same checkpoints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor
from tests import checkpoints
from tests.golden.converter.make_golden import HERE, SHARED, SHARED_MODELS, described, digest
from tests.golden.converter.variants import VARIANTS

YARN = "qwen2-yarn"
DECIDED_BY_THE_RECIPE = {"general.file_type", "general.quantization_version"}
_ENDS = "the converter drops all ends but one"
DELIBERATE = {
    "llama-3": {"tokenizer.ggml.eot_token_id": _ENDS, "tokenizer.ggml.eom_token_id": _ENDS},
    "llama-bos-as-object": {"tokenizer.ggml.eos_token_id": "without the key llama.cpp ends at a token by its number"},
    "qwen2": {"tokenizer.ggml.eot_token_id": _ENDS, "tokenizer.ggml.eom_token_id": _ENDS},
    YARN: {
        "qwen2.rope.scaling.yarn_attn_factor": "llama.cpp does not read the converter's key in this architecture",
        "qwen2.rope.scaling.attn_factor": "this one it reads, as a factor of its own magnitude",
        "qwen2.rope.scaling.yarn_beta_fast": "nor this, so other values than its own are refused",
    },
    "gpt2-inner": {"gpt2.feed_forward_length": "the converter writes four times the embedding, whatever n_inner says"},
    "llama-byte-fallback": {
        "tokenizer.ggml.scores": "the converter gives all pieces one score, so they are joined in no order",
        "tokenizer.ggml.token_type": "the converter believes neither unk_token nor that an added token is special",
    },
    "shared-capp-gpt2": {"tokenizer.ggml.merges": "without the key, which may be empty, llama.cpp refuses the file"},
}
"""By variant, the keys that differ, and why."""


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def as_golden(value: Value) -> list[Any]:
    """A value as the golden file spells it: float32 as the nearest double, names in no order of their own."""
    if value.type is not ValueType.ARRAY:
        return [[value.type.name], as_stored(value.type, value.data)]
    assert value.element is not None
    items = [as_stored(value.element, item) for item in value.data]
    return [["ARRAY", value.element.name], described(items)]


def as_stored(type_: ValueType, item: Any) -> Any:
    return float(np.float32(item)) if type_ is ValueType.FLOAT32 else item


def f32_bytes(tensor: Tensor) -> bytes:
    return np.asarray(tensor.read(0, tensor.row_count)).astype("<f4").tobytes()


def assert_equal(name: str, model: Model) -> None:
    expected = golden(name)
    skipped = DECIDED_BY_THE_RECIPE | set(DELIBERATE.get(name, {}))
    metadata = {key: as_golden(value) for key, value in model.metadata.items() if key not in skipped}
    assert {key: value for key, value in expected["metadata"].items() if key not in skipped} == metadata
    assert list(expected["tensors"]) == [tensor.name for tensor in model.tensors]
    for tensor in model.tensors:
        stored = expected["tensors"][tensor.name]
        assert (tensor.name, *stored["shape"]) == (tensor.name, *tensor.shape)
        assert (tensor.name, stored["f32"]) == (tensor.name, ["F32", digest(f32_bytes(tensor))])


def built(name: str, parent: Path) -> Path:
    """The variant, without what is refused here because llama.cpp does not read what its converter writes of it."""
    directory = VARIANTS[name].build(parent)
    if name == YARN:
        config = json.loads((directory / "config.json").read_text())
        del config["rope_scaling"]["beta_fast"]
        (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_becomes_what_the_converter_makes_of_it(name: str, tmp_path: Path) -> None:
    assert_equal(name, open_model(built(name, tmp_path)))


def test_yarn_becomes_what_llama_cpp_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'beta_fast' is '16', llama\.cpp's 'qwen2' computes with 32\.0 only"):
        open_model(VARIANTS[YARN].build(tmp_path))
    factor = open_model(built(YARN, tmp_path)).metadata["qwen2.rope.scaling.attn_factor"].data
    assert factor == pytest.approx(0.9 / (0.1 * np.log(4) + 1))


def test_an_inner_size_of_its_own_is_written(tmp_path: Path) -> None:
    inner = open_model(VARIANTS["gpt2-inner"].build(tmp_path))
    assert inner.metadata["gpt2.feed_forward_length"].data == 128


@pytest.mark.parametrize("dtype", ["?", "u1", "<f4"])
def test_masks_and_rotary_buffers_are_left_out(dtype: str, tmp_path: Path) -> None:
    mask = np.ones((1, 1, 128, 128), dtype)
    checkpoints.build("gpt2", tmp_path / "gpt2-made-up", dtype="F16", tensors={"h.0.attn.bias": mask})
    assert_equal("gpt2", open_model(tmp_path / "gpt2-made-up"))
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, "<f4")}
    checkpoints.build("llama", tmp_path / "made-up-llama", tensors=frequencies)
    assert_equal("llama", open_model(tmp_path / "made-up-llama"))


@pytest.mark.parametrize("name", SHARED_MODELS)
def test_a_real_model_becomes_what_the_converter_makes_of_it(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not in the project's shared folder, or there is none")
    assert_equal(f"shared-{name}", open_model((SHARED / name).resolve()))
