"""A model whose numbers are not finite is refused by name, before or when they spoil what it computes."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import Decoder, weights, write
from tests.test_written_is_finite import damage

LLAMA = Decoder("llama")
TOKENS = np.arange(8)


def damaged(folder: Path, name: str, type_: GgmlType, offset: int = 0) -> Path:
    path = write(folder / "model.gguf", LLAMA, weights(LLAMA), lambda _: type_)
    damage(path, name, offset)
    return path


def scaled(folder: Path, name: str, factor: float, type_: GgmlType = GgmlType.F32) -> Transformer:
    """A model with one tensor as many times as large."""
    tensors = weights(LLAMA)
    tensors[name] = tensors[name] * np.float32(factor)
    return from_model(open_model(write(folder / "model.gguf", LLAMA, tensors, lambda _: type_)))


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "blk.0.attn_v.weight", "output.weight"])
@pytest.mark.parametrize("type_", [GgmlType.Q8_0, GgmlType.F16, GgmlType.Q4_0], ids=lambda t: t.name)
def test_a_weight_is_found_when_it_is_loaded(name: str, type_: GgmlType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"tensor '{name}': .*row 0.*"):
        from_model(open_model(damaged(tmp_path, name, type_)))


def test_a_norm_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", LLAMA, weights(LLAMA))
    damage(path, "blk.1.attn_norm.weight", 4 * 5 + 2, 0x7FC0)
    with pytest.raises(InputError, match=r"'blk.1.attn_norm.weight': nan at row 0, column 5"):
        from_model(open_model(path))


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "blk.0.attn_v.weight", "output.weight", "token_embd.weight"])
@pytest.mark.parametrize("type_", [GgmlType.Q8_0, GgmlType.F16], ids=lambda t: t.name)
def test_a_weight_left_in_its_file_is_found_when_it_spoils_something(
    name: str, type_: GgmlType, tmp_path: Path
) -> None:
    transformer = from_model(open_model(damaged(tmp_path, name, type_)), resident=False)
    with pytest.raises(InputError, match=f"tensor '{name}': .*row 0.*"):
        transformer.logits(TOKENS)
    with pytest.raises(InputError, match=f"tensor '{name}': .*row 0.*"):
        transformer.predict(TOKENS, Cache(transformer.hyperparameters, 8))


@pytest.mark.parametrize("type_", [GgmlType.Q8_0, GgmlType.F32], ids=lambda t: t.name)
def test_activations_that_overflow_are_found_by_layer(type_: GgmlType, tmp_path: Path) -> None:
    transformer = scaled(tmp_path, "blk.1.ffn_norm.weight", 1e30, type_)
    with pytest.raises(InputError, match="activations overflow in layer 1, though all weights are finite"):
        transformer.logits(TOKENS)


def test_logits_that_overflow_are_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="logits overflow, though all weights are finite"):
        scaled(tmp_path, "output.weight", 1e38).logits(TOKENS)


def test_a_model_that_is_finite_is_run(tmp_path: Path) -> None:
    assert np.isfinite(scaled(tmp_path, "output.weight", 1).logits(TOKENS)).all()
