"""What a user may name as input, and what is said when it is not what it seems."""

import json
from pathlib import Path

import numpy as np
import pytest

from formats.errors import FormatError
from formats.gguf.layout import text
from formats.gguf.writer import lay_out
from quantize_cli.errors import InputError
from quantize_cli.source import open_model
from tests import checkpoints
from tests.tokenizers.converted import convert


def test_an_unknown_model_type_is_named_with_the_known_ones(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, config={"model_type": "mamba\x1b[2J", "architectures": ["MambaForCausalLM"]})
    with pytest.raises(InputError, match=r"model_type 'mamba\\x1b\[2J' is not supported") as caught:
        open_model(tmp_path)
    assert caught.value.hint is not None
    assert all(family in caught.value.hint for family in checkpoints.FAMILIES)


def test_a_missing_tokenizer_is_told_with_the_files_that_could_be_one(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"tokenizer.model": None})
    with pytest.raises(InputError, match=r"has none of the tokenizer files tokenizer\.model, tokenizer\.json"):
        open_model(tmp_path)


def test_errors_of_files_pass_unchanged(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"config.json": "{"})
    with pytest.raises(FormatError, match=r"config\.json: not json"):
        open_model(tmp_path)


def test_a_weight_file_stands_for_its_directory(tmp_path: Path) -> None:
    directory = checkpoints.build("qwen3", tmp_path / "m")
    whole, file = open_model(directory), open_model(directory / "model.safetensors")
    assert whole.metadata.keys() == file.metadata.keys()
    assert [tensor.name for tensor in whole.tensors] == [tensor.name for tensor in file.tensors]


def test_weights_alone_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    checkpoints.save_safetensors(path, {"b.bias": np.zeros(3, np.float32), "a.weight": np.ones((2, 3), np.float32)})
    model = open_model(path)
    assert model.architecture is None
    assert [tensor.name for tensor in model.tensors] == ["a.weight", "b.bias"]
    assert {key: value.data for key, value in model.metadata.items()} == {"general.name": "adapter"}
    assert "no config.json" in model.warnings[0]


def test_a_gguf_file_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    made = convert(checkpoints.build("llama", tmp_path / "m"), tmp_path / "m.gguf")
    model = open_model(tmp_path / "m.gguf")
    assert (model.architecture, model.warnings) == ("llama", ())
    assert list(made.metadata) == list(model.metadata)
    for expected, found in zip(made.tensors, model.tensors, strict=True):
        assert (expected.name, expected.shape) == (found.name, found.shape)
        rows = expected.row_count
        assert np.asarray(expected.read(0, rows), np.float32).tobytes() == found.read(0, rows).tobytes()


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    directory = checkpoints.build("llama", tmp_path / "m")
    model = open_model(directory)
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match="the file ends after 0"):
        model.tensors[0].read(0, 1)


def test_metadata_is_plain_data(tmp_path: Path) -> None:
    model = open_model(checkpoints.build("qwen2", tmp_path / "m"))
    json.dumps({key: value.data for key, value in model.metadata.items()})


def test_a_certificate_is_not_taken_over_but_the_importance_is_still_named(tmp_path: Path) -> None:
    layout = lay_out(
        {
            "general.architecture": text("llama"),
            "quantize.recipe": text("q4_k_m"),
            "quantize.of.another.version": text("x"),
            "quantize.imatrix.file": text("a.imatrix"),
        },
        [],
    )
    (tmp_path / "a.gguf").write_bytes(layout.header)
    assert list(open_model(tmp_path / "a.gguf").metadata) == ["general.architecture", "quantize.imatrix.file"]
