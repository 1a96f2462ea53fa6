"""GGUF files are known by what they begin with, whatever they are called."""

from pathlib import Path

import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.formats.gguf.shards import read_model
from tests.formats.build import gguf_bytes


@pytest.mark.parametrize("name", ["sha256-4d7a", "model.GGUF", "model.gguf", "ggml-model.bin", "a.safetensors"])
def test_a_file_that_begins_as_one_is_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gguf_bytes())
    assert is_gguf(tmp_path / name)


def test_a_damaged_file_called_one_is_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"")
    (tmp_path / "model.bin").write_bytes(b"GG")
    assert (is_gguf(tmp_path / "model.gguf"), is_gguf(tmp_path / "model.bin")) == (True, False)


def test_a_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").mkdir()
    assert not is_gguf(tmp_path / "model.gguf")


def test_files_joined_by_cat_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "whole.gguf").write_bytes(gguf_bytes() + gguf_bytes())
    with pytest.raises(FormatError, match="a second gguf file begins at byte") as caught:
        read_model(tmp_path / "whole.gguf")
    assert "joined by cat" in (caught.value.hint or "")
