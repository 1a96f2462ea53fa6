"""Adapters as GGUF files: read back equal, and llama.cpp computes with them what we compute with them merged."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.adapters.gguf import read_gguf_adapter, write_gguf_adapter
from quantize_cli.adapters.merge import merged, read_adapter
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value, f32, text
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import from_model
from tests import checkpoints, oracle
from tests.adapters.adapters import adapter_for, assert_same
from tests.tokenizers.converted import convert

AS_LLAMA_CPP = 1e-2
"""ggml looks GELU up in a table of float16, which moves logits of gpt2 by as much; those of llama by 1e-4."""
METADATA = {
    "general.architecture": text("llama"), "general.type": text("adapter"), "adapter.type": text("lora"),
    "adapter.lora.alpha": f32(8),
}  # fmt: skip


def write(path: Path, metadata: dict[str, Value], shapes: dict[str, tuple[int, ...]]) -> Path:
    """A GGUF file of ones."""
    layout = lay_out(metadata, [TensorInfo(name, shape, GgmlType.F32) for name, shape in shapes.items()])
    data = bytearray(layout.header.ljust(layout.nbytes, b"\0"))
    for offset, shape in zip(layout.offsets, shapes.values(), strict=True):
        ones = np.ones(shape, np.float32).tobytes()
        data[offset : offset + len(ones)] = ones
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_what_is_written_reads_back_equal(family: str, tmp_path: Path) -> None:
    model = open_model(checkpoints.build(family, tmp_path / "m"))
    write_gguf_adapter(tmp_path / "a.gguf", adapter_for(model))
    assert_same(read_adapter(tmp_path / "a.gguf", model), adapter_for(model))


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_llama_cpp_computes_what_the_merged_model_does(family: str, tmp_path: Path) -> None:
    checkpoint = checkpoints.build(family, tmp_path / "m")
    convert(checkpoint, tmp_path / "m.gguf")
    model = open_model(tmp_path / "m.gguf")
    adapter = adapter_for(model)
    write_gguf_adapter(tmp_path / "a.gguf", adapter)
    tokens = np.arange(3, 35, dtype=np.int32)
    reference = oracle.Model(tmp_path / "m.gguf", exact=True)
    without = reference.logits(tokens)
    reference.adapt(tmp_path / "a.gguf")
    expected, logits = reference.logits(tokens), from_model(merged(model, adapter)).logits(tokens)
    assert np.abs(logits - expected).max() < AS_LLAMA_CPP
    assert np.abs(expected - without).max() > 50 * AS_LLAMA_CPP


def test_terms_of_several_alphas_add_the_same_in_a_file_of_one(tmp_path: Path) -> None:
    a, b = np.ones((2, 32), np.float32), np.ones((32, 2), np.float32)
    adapter = Adapter("llama", {"x.weight": LowRankTerm(a, b, 8.0), "y.weight": LowRankTerm(a, b, 2.0)})
    write_gguf_adapter(tmp_path / "a.gguf", adapter)
    term = read_gguf_adapter(tmp_path / "a.gguf").terms["y.weight"]
    assert (term.alpha, float(term.b[0, 0] * term.scale)) == (8.0, 1.0)


def test_factors_of_the_embedding_are_stored_the_other_way_round(tmp_path: Path) -> None:
    term = LowRankTerm(np.ones((2, 32), np.float32), np.ones((48, 2), np.float32), 8.0)
    write_gguf_adapter(tmp_path / "a.gguf", Adapter("llama", {"token_embd.weight": term}))
    shapes = {tensor.name: tensor.shape for tensor in read_gguf(tmp_path / "a.gguf").tensors}
    assert shapes == {"token_embd.weight.lora_a": (48, 2), "token_embd.weight.lora_b": (32, 2)}
    assert read_gguf_adapter(tmp_path / "a.gguf").terms["token_embd.weight"].shape == (48, 32)


def test_an_alpha_of_zero_is_one_that_is_not_stated(tmp_path: Path) -> None:
    shapes = {"x.weight.lora_a": (2, 32), "x.weight.lora_b": (32, 2)}
    path = write(tmp_path / "a.gguf", {**METADATA, "adapter.lora.alpha": f32(0)}, shapes)
    assert read_gguf_adapter(path).terms["x.weight"].scale == 1.0


@pytest.mark.parametrize(
    ("metadata", "shapes", "message"),
    [
        ({"general.type": text("model")}, {}, "a 'model', not an adapter"),
        ({"adapter.type": text("dora")}, {}, "of type 'dora'"),
        ({}, {}, "an adapter without tensors"),
        ({}, {"x.weight.lora_a": (2, 32)}, "is without 'x.weight.lora_b'"),
        ({}, {"x.weight": (2, 32)}, "no factor"),
        ({}, {"x.weight.lora_a": (2, 32), "x.weight.lora_b": (32, 3)}, "factors of ranks 2 and 3"),
        ({}, {"x.weight.lora_a": (2,), "x.weight.lora_b": (32, 2)}, "a factor is a matrix"),
    ],
)
def test_other_files_are_refused(
    metadata: dict[str, Value], shapes: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.gguf", METADATA | metadata, shapes)
    with pytest.raises(InputError) as error:
        read_gguf_adapter(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
