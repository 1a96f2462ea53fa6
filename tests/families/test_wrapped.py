"""Names that a wrapper changed are read as they were before it, and adapters and codes are told what they are."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.model.source import open_model
from tests import checkpoints

WRAPPERS = ("_orig_mod.", "module.", "base_model.model.", "model.", "module._orig_mod.", "_forward_module.")


def names(path: Path) -> list[str]:
    return [tensor.name for tensor in open_model(path).tensors]


def rename(path: Path, change: Any) -> None:
    """Store the same tensors under other names."""
    stored = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(stored[:8], "little")
    header = {change(name): entry for name, entry in json.loads(stored[8 : 8 + length]).items()}
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + stored[8 + length :])


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_prefix_of_all_names_is_taken_off(family: str, wrapper: str, tmp_path: Path) -> None:
    expected = names(checkpoints.build(family, tmp_path))
    rename(tmp_path, lambda name: wrapper + name)
    model = open_model(tmp_path)
    assert sorted(tensor.name for tensor in model.tensors) == sorted(expected)
    assert any("which a wrapper added" in warning for warning in model.warnings)


@pytest.mark.parametrize("inner", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrapped_layers_are_unwrapped(inner: str, tmp_path: Path) -> None:
    expected = names(checkpoints.build("llama", tmp_path))
    rename(tmp_path, lambda name: name.replace("layers.1.", f"layers.1.{inner}"))
    assert names(tmp_path) == expected


def test_a_prefix_is_named_where_the_rest_is_no_whole_model(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, tensors={"model.norm.weight": None})
    rename(tmp_path, lambda name: f"module.{name}")
    with pytest.raises(InputError, match=r"tensor 'norm\.weight' is missing") as caught:
        open_model(tmp_path)
    assert "'module.' of a wrapper" in (caught.value.hint or "")


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path)
    rename(tmp_path, lambda name: f"module.{name}" if "layers.1" in name else name)
    with pytest.raises(InputError, match=r"'module\.model\.layers\.1.* has no place"):
        open_model(tmp_path)


ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "org/Tiny", "r": 8}


def adapter(directory: Path, stated: dict[str, Any] | None) -> Path:
    lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    checkpoints.save_safetensors(directory / "adapter_model.safetensors", {lora: np.ones((8, 64), np.float32)})
    if stated is not None:
        (directory / "adapter_config.json").write_text(json.dumps(stated))
    return directory / "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (ADAPTER, "an adapter ('LORA') of base model 'org/Tiny', not a model"),
        ({"peft_type": 7}, "an adapter, not a model"),
        (None, "an adapter, not a model"),
    ],
)
def test_an_adapter_is_no_model(stated: dict[str, Any] | None, told: str, tmp_path: Path) -> None:
    for path in (tmp_path, adapter(tmp_path, stated)):
        adapter(tmp_path, stated)
        with pytest.raises(FormatError) as caught:
            open_model(path)
        assert str(caught.value) == f"{path}: {told}"
        assert "--lora" in (caught.value.hint or "")


def test_a_model_beside_its_adapter_is_a_model(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path)
    adapter(tmp_path, ADAPTER)
    assert names(tmp_path)


def test_stubs_of_zero_3_are_told_what_they_are(tmp_path: Path) -> None:
    stub = {"model.layers.0.mlp.up_proj.weight": np.zeros(0, ml_dtypes.bfloat16)}
    with pytest.raises(InputError, match=r"has shape \[0\], the config says \[96, 64\]") as caught:
        open_model(checkpoints.build("llama", tmp_path, tensors=stub))
    assert "zero_to_fp32.py" in (caught.value.hint or "")
