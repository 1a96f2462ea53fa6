"""What a small file says takes little memory: counts are held against sizes before anything is made of them."""

import json
import struct
from pathlib import Path

import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.json_object import MAX_NBYTES, parse_object, read_object
from quantize_cli.formats.memory_limit import allowed_memory
from quantize_cli.formats.safetensors import read_header
from tests import checkpoints
from tests.formats import build
from tests.formats.build import gguf_bytes, string, tensor, value


def test_room_is_a_little_and_four_times_the_size() -> None:
    assert (allowed_memory(0), allowed_memory(1 << 30)) == (64 << 20, (64 << 20) + (4 << 30))


def test_more_tensors_than_a_model_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([], [tensor(f"{index}", [0], 0) for index in range(20_000)]))
    with pytest.raises(FormatError, match=f"20000 tensors in a file of {path.stat().st_size} bytes, at most"):
        read_gguf(path)


def test_as_many_tensors_with_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    tensors = [tensor(f"{index}", [512], 2048 * index) for index in range(10_000)]
    path.write_bytes(gguf_bytes([], tensors, bytes(2048 * 10_000)))
    assert len(read_gguf(path).tensors) == 10_000


def test_more_strings_than_any_vocabulary_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([build.array("a", build.STRING, 600_000, string("") * 600_000)]))
    with pytest.raises(FormatError, match=r"600001 strings in a file of \d+ bytes, at most"):
        read_gguf(path)


def test_the_strings_of_all_arrays_are_counted_together(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    arrays = [build.array(key, build.STRING, 200_000, string("") * 200_000) for key in "abc"]
    path.write_bytes(gguf_bytes(arrays))
    with pytest.raises(FormatError, match="strings in a file of"):
        read_gguf(path)


def test_more_metadata_values_than_a_model_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([value(f"{index}", build.UINT8, b"\0") for index in range(80_000)]))
    with pytest.raises(FormatError, match="80000 metadata values in a file of"):
        read_gguf(path)


def test_a_header_of_too_many_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(build.safetensors_bytes({str(index): build.entry([0], 0, 0) for index in range(20_000)}))
    with pytest.raises(FormatError, match="20000 tensors in a file of"):
        read_header(path)


@pytest.mark.parametrize("item", [b"[]", b"{}", b'{"":0}', b'"ab"', b"[0]"])
def test_json_that_takes_many_times_its_size_is_refused(item: bytes) -> None:
    text = b'{"a": [' + b",".join([item] * 1_000_000) + b"]}"
    with pytest.raises(FormatError, match=f"^a: {len(text)} bytes of json may take [0-9]+ of memory, at most"):
        parse_object("a", text, False, 1 << 20)


def test_a_huge_file_of_settings_is_refused_with_both_numbers(tmp_path: Path) -> None:
    model = checkpoints.build("llama", tmp_path / "model")
    (model / "config.json").write_bytes(b" " * (MAX_NBYTES + 1))
    with pytest.raises(FormatError, match=f"config.json: {MAX_NBYTES + 1} bytes, at most {MAX_NBYTES} are read"):
        open_checkpoint(model)


def test_a_vocabulary_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """262,144 tokens and 515,000 merges, spelled as briefly as they can be."""
    vocabulary = ",".join(f'"t▁{index}":{index}' for index in range(1 << 18))
    merges = ",".join(f'["{index % 1000}","t{index}"]' for index in range(515_000))
    path = tmp_path / "tokenizer.json"
    path.write_text(f'{{"model":{{"vocab":{{{vocabulary}}},"merges":[{merges}]}}}}', encoding="utf-8")
    assert len(read_object(path, False)["model"]["merges"]) == 515_000


def test_an_index_of_a_hundred_thousand_tensors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    names = (f"model.layers.{index // 1000}.mlp.experts.{index % 1000}.up_proj.weight" for index in range(100_000))
    path.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001-of-00100.safetensors")}, indent=2))
    assert len(read_object(path, True)["weight_map"]) == 100_000


def test_a_count_beyond_the_bytes_is_refused_before_room_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([value("a", build.ARRAY, struct.pack("<IQ", build.UINT8, 1 << 29))]))
    with pytest.raises(FormatError, match="needs 536870912 bytes"):
        read_gguf(path)
