"""A digest tells whether weights are the same, and is told nothing by how they are stored."""

import hashlib
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.certificate.digest import stored_sha256, weights_sha256
from quantize_cli.model.source import open_model
from quantize_cli.model.tensor import Tensor, from_array
from tests import checkpoints
from tests.cli.console import MODEL, succeeded

WEIGHTS = np.random.default_rng(0).standard_normal((40, 64)).astype(ml_dtypes.bfloat16)


def saved(path: Path, **tensors: np.ndarray) -> list[Tensor]:
    checkpoints.save_safetensors(path, {f"{name}.weight": values for name, values in tensors.items()})
    return open_model(path).tensors


def test_it_is_what_the_docstring_says(tmp_path: Path) -> None:
    single = np.array([[1.0, 0.1, -3.5]], np.float32)
    halves = single.view(np.uint16)
    rows = hashlib.sha256(halves[:, 1::2].tobytes()).digest() + hashlib.sha256(halves[:, ::2].tobytes()).digest()
    expected = hashlib.sha256(b"a.weight\x001 3\x00F32\x00" + rows).hexdigest()
    assert weights_sha256(saved(tmp_path / "a.safetensors", a=single)) == expected
    stored = hashlib.sha256(b"a.weight\x001 3\x00F32\x00" + hashlib.sha256(single.tobytes()).digest()).hexdigest()
    assert stored_sha256(saved(tmp_path / "a.safetensors", a=single)) == stored


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_floats_count_as_the_weights_they_stand_for(dtype: type, tmp_path: Path) -> None:
    few = (np.arange(256, dtype=np.float32) / 16).reshape(4, 64)  # which each of the three types can say
    expected = weights_sha256(saved(tmp_path / "a.safetensors", a=few))
    assert weights_sha256(saved(tmp_path / "b.safetensors", a=few.astype(dtype))) == expected
    is_same = stored_sha256(saved(tmp_path / "b.safetensors", a=few.astype(dtype))) == stored_sha256(
        [from_array("a.weight", few)]
    )
    assert is_same is (dtype is np.float32)


def test_neither_order_nor_the_size_of_chunks_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = saved(tmp_path / "a.safetensors", a=WEIGHTS, b=WEIGHTS.astype(np.float32) / 3)
    expected = weights_sha256(tensors), stored_sha256(tensors)
    monkeypatch.setattr("quantize_cli.certificate.digest._CHUNK_WEIGHTS", 100)
    assert (weights_sha256(tensors[::-1]), stored_sha256(tensors[::-1])) == expected


def test_every_difference_matters(tmp_path: Path) -> None:
    (tensor,) = saved(tmp_path / "a.safetensors", a=WEIGHTS)
    other = WEIGHTS.copy()
    other[39, 63] = np.nextafter(other[39, 63], ml_dtypes.bfloat16(9))
    (changed,) = saved(tmp_path / "b.safetensors", a=other)
    several = [tensor, changed, tensor.renamed("b"), replace(tensor, shape=(20, 2, 64)), replace(tensor, shape=(64,))]
    for digest in (weights_sha256, stored_sha256):
        assert len({digest([each]) for each in several}) == len(several)
        assert digest([tensor, tensor.renamed("b")]) not in {digest([each]) for each in several}


def test_a_checkpoint_and_its_float_file_have_the_same(tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--type", "bf16", "-o", "whole.gguf", cwd=tmp_path)
    succeeded("convert", MODEL, "--type", "f32", "-o", "parts.gguf", "--split-size", "5MB", cwd=tmp_path)
    expected = weights_sha256(open_model(MODEL).tensors)
    for name in ("whole.gguf", "parts-00002-of-00003.gguf"):
        assert weights_sha256(open_model(tmp_path / name).tensors) == expected
