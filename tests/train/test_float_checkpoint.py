"""The float weights behind the codes are saved as the source has its own: names, shapes, dtypes, order of rows."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.numpy import load_file  # noqa: E402

from quantize_cli import pipeline, quants  # noqa: E402
from quantize_cli.errors import InputError, OutputError, UsageError  # noqa: E402
from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.model.source import Model, open_model  # noqa: E402
from quantize_cli.pipeline.job import Job  # noqa: E402
from quantize_cli.train.runner.float_checkpoint import save_float  # noqa: E402
from quantize_cli.train.weights.factory import trained_matrix  # noqa: E402
from quantize_cli.train.weights.trained_matrix import TrainedMatrix  # noqa: E402
from tests import checkpoints  # noqa: E402
from tests.cli.console import MODEL  # noqa: E402

FAMILIES = {
    "gpt2": "h.0.attn.c_attn.weight", "llama": "layers.0.self_attn.q_proj.weight",
    "mistral": "layers.0.self_attn.k_proj.weight", "qwen2": "layers.0.self_attn.q_proj.weight",
    "qwen3": "layers.0.mlp.down_proj.weight",
}  # fmt: skip
"""And of each a tensor whose rows are stored in an order of their own, if it has one."""


def matrices(model: Model, leave: int = 0) -> dict[str, TrainedMatrix]:
    """All matrices of a model but the last few, in a type that each fits, all weights a little larger."""
    trained = {}
    for tensor in [tensor for tensor in model.tensors if len(tensor.shape) > 1][: -leave or None]:
        weights = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
        matrix = trained_matrix(GgmlType.Q8_0, quants.encode(GgmlType.Q8_0, weights), weights)
        with torch.no_grad():
            matrix.weight *= 1.25  # exact in all dtypes that hold the weights
        trained[tensor.name] = matrix
    return trained


def latent(matrix: TrainedMatrix, dtype: type = np.float32) -> np.ndarray:
    return np.asarray(matrix.latent().numpy().astype(dtype).astype(np.float32))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_directory_is_read_as_the_weights_that_were_trained(family: str, tmp_path: Path) -> None:
    source = open_model(checkpoints.build(family, tmp_path / "source"))
    trained = matrices(source, leave=1)
    save_float(trained, source, tmp_path / "saved")
    again = open_model(tmp_path / "saved")
    assert [tensor.name for tensor in again.tensors] == [tensor.name for tensor in source.tensors]
    assert again.metadata.keys() == source.metadata.keys()
    for before, after in zip(source.tensors, again.tensors, strict=True):
        rows = after.read(0, after.row_count)
        assert (before.shape, before.type) == (after.shape, after.type)
        if before.name in trained:
            assert np.array_equal(latent(trained[before.name]), rows), before.name
        else:
            assert np.array_equal(before.read(0, before.row_count), rows), before.name


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_tensors_keep_their_own_order(family: str, tmp_path: Path) -> None:
    """Each stored weight becomes a quarter larger where it stands."""
    directory = checkpoints.build(family, tmp_path / "source", prefixed=False)
    source = open_model(directory)
    save_float(matrices(source), source, tmp_path / "saved")
    before, after = (load_file(path / "model.safetensors") for path in (directory, tmp_path / "saved"))
    assert before.keys() == after.keys()
    name = FAMILIES[family]
    # weights are moved into the cells of their codes by a part of a step at most, and a step is 1 / 254 of a block
    assert np.abs(after[name] - 1.25 * before[name]).max() < 2e-3
    norms = [name for name in before if before[name].ndim == 1]
    assert norms
    assert all(np.array_equal(before[norm], after[norm]) for norm in norms)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "mixed"])
def test_dtypes_stay(dtype: str, tmp_path: Path) -> None:
    source = open_model(checkpoints.build("llama", tmp_path / "source", dtype=dtype))
    trained = matrices(source)
    save_float(trained, source, tmp_path / "saved")
    save_float(trained, source, tmp_path / "saved.gguf")
    number = np.float16 if dtype == "F16" else ml_dtypes.bfloat16
    for path in (tmp_path / "saved", tmp_path / "saved.gguf"):
        for tensor in open_model(path).tensors:
            if tensor.name in trained:
                assert tensor.type.name == ("F16" if dtype == "F16" else "BF16")
                assert np.array_equal(
                    latent(trained[tensor.name], number), quants.decode(tensor.type, tensor.read(0, tensor.row_count))
                )


def test_a_gguf_file_is_what_convert_makes_of_the_directory(tmp_path: Path) -> None:
    source = open_model(MODEL)
    trained = matrices(source)
    save_float(trained, source, tmp_path / "saved")
    save_float(trained, source, tmp_path / "saved.gguf")
    pipeline.convert(Job(tmp_path / "saved", tmp_path / "converted.gguf", type=source.tensors[0].type.name.lower()))
    assert _without_name(tmp_path / "saved.gguf") == _without_name(tmp_path / "converted.gguf")


def _without_name(path: Path) -> list[tuple[object, ...]]:
    return [(t.name, t.shape, t.type, t.read(0, t.row_count).tobytes()) for t in open_model(path).tensors]


def test_shards_and_their_index_stay(tmp_path: Path) -> None:
    directory = checkpoints.build("qwen2", tmp_path / "source")
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names, files = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    held = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        checkpoints.save_safetensors(directory / file, {name: tensors[name] for name in names if held[name] == file})
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": held}))
    source = open_model(directory)
    trained = matrices(source)
    save_float(trained, source, tmp_path / "saved")
    written = {path.name for path in (tmp_path / "saved").iterdir()}
    assert written == {path.name for path in directory.iterdir()}
    for tensor in open_model(tmp_path / "saved").tensors:
        if tensor.name in trained:
            assert np.array_equal(latent(trained[tensor.name]), tensor.read(0, tensor.row_count))


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    source = open_model(checkpoints.build("llama", tmp_path / "source", dtype="F16"))
    trained = matrices(source)
    save_float({}, source, tmp_path / "float.gguf")
    with pytest.raises(UsageError, match="a directory is made of a checkpoint only"):
        save_float({}, open_model(tmp_path / "float.gguf"), tmp_path / "directory")
    with pytest.raises(OutputError, match="already exists"):
        save_float({}, source, tmp_path / "source")
    with pytest.raises(OutputError, match="there is no directory"):
        save_float({}, source, tmp_path / "nowhere" / "saved")
    with torch.no_grad():
        trained["blk.0.attn_q.weight"].weight[0, 0] = 1e6
    with pytest.raises(InputError, match=r"q_proj.weight': 1e\+06 is more than f16 holds"):
        save_float(trained, source, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
