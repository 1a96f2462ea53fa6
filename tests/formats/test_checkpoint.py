import json
import os
import re
from pathlib import Path

import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from tests.formats.build import gguf_bytes, write_safetensors

SHARED_MODELS = Path(__file__).resolve().parents[2] / ".." / "shared" / "models"


def write_index(directory: Path, weight_map: object, stem: str = "model") -> None:
    (directory / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def sharded(directory: Path) -> Path:
    """Three tensors in two shards, listed in an order that is neither theirs nor the names'."""
    directory.mkdir(parents=True, exist_ok=True)
    write_safetensors(directory / "model-00001-of-00002.safetensors", {"z": [2], "b": [3]})
    write_safetensors(directory / "model-00002-of-00002.safetensors", {"a": [1]})
    first, second = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    write_index(directory, {"a": second, "z": first, "b": first})
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


def refused(path: Path, message: str) -> FormatError:
    with pytest.raises(FormatError, match=message) as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()
    return caught.value


def names(path: Path) -> list[str]:
    return [tensor.name for tensor in open_checkpoint(path).tensors]


def test_directory_with_one_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"z": [2], "b": [3]})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == {"model_type": "llama"}
    assert (checkpoint.path, checkpoint.directory) == (tmp_path, tmp_path)
    assert [t.name for t in checkpoint.tensors] == ["b", "z"]


def test_one_file_finds_its_siblings(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "weights.safetensors", {"a": [1]})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "merges.txt").write_bytes(b"a b\r\nc d\n")
    checkpoint = open_checkpoint(path)
    assert (checkpoint.path, checkpoint.directory, checkpoint.config) == (path, tmp_path, {})
    assert checkpoint.text("merges.txt") == "a b\r\nc d\n"
    assert checkpoint.file("merges.txt") == tmp_path / "merges.txt"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "model.safetensors", {}))
    assert checkpoint.config is None
    assert checkpoint.json("tokenizer.json") is None
    assert checkpoint.text("merges.txt") is None
    assert checkpoint.file("tokenizer.model") is None


def test_tensors_come_by_shard_then_by_name(tmp_path: Path) -> None:
    assert names(sharded(tmp_path)) == ["b", "z", "a"]


def test_one_shard_stands_for_its_index(tmp_path: Path) -> None:
    path = sharded(tmp_path) / "model-00002-of-00002.safetensors"
    assert names(path) == ["b", "z", "a"]


def test_file_outside_the_index_opens_alone(tmp_path: Path) -> None:
    assert names(write_safetensors(sharded(tmp_path) / "adapter.safetensors", {"lora": [1]})) == ["lora"]


def test_parts_without_index_are_taken_in_order(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model.safetensors.index.json").unlink()
    write_safetensors(tmp_path / "optimizer.safetensors", {"unrelated": [1]})
    assert names(tmp_path) == ["b", "z", "a"]


def test_gap_in_parts_without_index_is_refused(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model.safetensors.index.json").unlink()
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    refused(tmp_path, "shard 'model-00001-of-00002.safetensors' is missing")


def test_missing_shard_is_named_with_its_tensors(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00001-of-00002.safetensors").unlink()
    error = refused(
        tmp_path,
        "index.json: shard 'model-00001-of-00002.safetensors' with 2 of 3 tensors is missing",
    )
    assert error.hint == f"download it to {tmp_path}"


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": 2, "b": 1}, "lists 2 tensors, the shards hold 3, 1 differ: tensor 'z' is listed in no shard and stored"),
        ({"a": 2, "b": 1, "z": 1, "y": 2}, "lists 4 tensors, the shards hold 3, 1 differ: tensor 'y' .* in no shard"),
        ({"a": 2, "b": 1, "z": 2}, "1 differ: tensor 'z' is listed in 'model-00002.*' and stored in 'model-00001"),
        ({"a": 2, "b": 1, "\x1b": 2}, r"lists 3 tensors, the shards hold 3, 2 differ: tensor '\\x1b'"),
    ],
)
def test_index_that_disagrees_with_its_shards_is_refused(
    tmp_path: Path, weight_map: dict[str, int], message: str
) -> None:
    write_index(sharded(tmp_path), {name: f"model-0000{n}-of-00002.safetensors" for name, n in weight_map.items()})
    refused(tmp_path, message)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_safetensors(sharded(tmp_path) / "model-00002-of-00002.safetensors", {"a": [1], "b": [3]})
    refused(tmp_path, "00002-of-00002.safetensors: tensor 'b' is also in 'model-00001-of-00002.safetensors'")


@pytest.mark.parametrize("weight_map", [None, {}, [], "model.safetensors"])
def test_index_without_a_map_is_refused(tmp_path: Path, weight_map: object) -> None:
    write_index(tmp_path, weight_map)
    refused(tmp_path, "index.json: 'weight_map' is no json object of tensor and shard names")


@pytest.mark.parametrize("shard", [7, None, "model.bin", ["model.safetensors"]])
def test_shard_that_is_no_safetensors_file_is_refused(tmp_path: Path, shard: object) -> None:
    write_index(tmp_path, {"a": shard})
    refused(tmp_path, "index.json: tensor 'a' is in .*, not a .safetensors file")


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..\\x.safetensors", "x\x1b.safetensors"]
)
def test_shard_name_that_leads_elsewhere_is_refused(tmp_path: Path, shard: str) -> None:
    write_safetensors(tmp_path / "x.safetensors", {"a": [1]})
    write_index(sharded(tmp_path / "inside"), {"a": shard})
    refused(tmp_path / "inside", f"inside: {re.escape(repr(shard))} is no plain file name")


def test_tensor_listed_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "a": "y"}}')
    refused(tmp_path, "index.json: key 'a' occurs 2 times")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_link_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    outside = write_safetensors(tmp_path / "outside", {"a": [1]})
    inside = tmp_path / "inside"
    inside.mkdir()
    write_safetensors(inside / "model.safetensors", {"a": [1]})
    (inside / name).unlink(missing_ok=True)
    (inside / name).symlink_to(outside)
    with pytest.raises(FormatError, match=f"{name}: links to '.*outside', outside of the checkpoint"):
        open_checkpoint(inside).file(name)


def test_link_within_the_directory_is_followed(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "weights", {"a": [1]})
    (tmp_path / "model.safetensors").symlink_to("weights")
    assert names(tmp_path) == ["a"]


def test_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    refused(tmp_path, "'model.safetensors' is a link to a file that is missing")


def cache(root: Path, target: str) -> Path:
    """A snapshot as the Hugging Face cache lays one out, its weights a link to `target`."""
    snapshot = root / "models--someone--model" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (root / "models--someone--model" / "blobs").mkdir()
    (root / "models--other--model" / "blobs").mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(target)
    return snapshot


def test_link_into_the_caches_blobs_is_followed(tmp_path: Path) -> None:
    snapshot = cache(tmp_path, "../../blobs/4567")
    write_safetensors(tmp_path / "models--someone--model" / "blobs" / "4567", {"a": [1]})
    assert names(snapshot) == ["a"]
    (tmp_path / "linked").symlink_to(snapshot)
    assert names(tmp_path / "linked") == ["a"]


@pytest.mark.parametrize("target", ["../../../models--other--model/blobs/4567", "../../4567", "../../blobs/../4567"])
def test_link_beyond_the_caches_blobs_is_refused(tmp_path: Path, target: str) -> None:
    snapshot = cache(tmp_path, target)
    write_safetensors(snapshot / target, {"a": [1]})
    refused(snapshot, "model.safetensors: links to '.*', outside of the checkpoint")


def test_blob_not_yet_downloaded_is_missing(tmp_path: Path) -> None:
    refused(cache(tmp_path, "../../blobs/4567"), "'model.safetensors' is a link to a file that is missing")


@pytest.mark.parametrize("name", ["../config.json", "", "..", "/etc/passwd", "a/b", "a\nb"])
def test_side_file_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "model.safetensors", {}))
    with pytest.raises(FormatError, match="is no plain file name"):
        checkpoint.file(name)


def test_missing_path_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "absent: no such file or directory")


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (["config.json"], r"no model\*.safetensors among its 1 files", None),
        (
            ["pytorch_model.bin"],
            "weights only as pickles, but 'pytorch_model.bin'",
            "convert it to safetensors first: a pickle can run code",
        ),
        (["consolidated.00.pth"], "weights only as pickles", "convert it to safetensors first"),
        (["adapter.safetensors", "a.bin"], "no model.*, but 'adapter.safetensors'", "name the file itself: 'adapter"),
        (["small.gguf", "README.md"], "weights only as gguf, but 'small.gguf'", "name the file itself: 'small.gguf'"),
    ],
)
def test_directory_without_weights_says_what_to_do(
    tmp_path: Path, files: list[str], message: str, hint: str | None
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(gguf_bytes())
    error = refused(tmp_path, message)
    assert (error.hint or "").startswith(hint or "")
    assert (error.hint is None) == (hint is None)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
def test_pickle_is_never_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pytorch_model{suffix}"
    os.mkfifo(path)
    assert "a pickle can run code" in str(refused(path, "a pickle, not .safetensors").hint)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes())
    refused(path, "model.gguf: neither a directory nor a .safetensors file")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"", "config.json: not json at character 0"),
        (b'{"a": 1,}', "config.json: not json at character"),
        (b"[1]", "config.json: a json list, not an object"),
        (b'{"a": "\xff"}', "config.json: not utf-8 at byte 7 of 10"),
        (b"[" * 200_000, "config.json: not json that can be read: RecursionError"),
    ],
)
def test_config_that_is_no_json_object_is_refused(tmp_path: Path, stored: bytes, message: str) -> None:
    write_safetensors(tmp_path / "model.safetensors", {})
    (tmp_path / "config.json").write_bytes(stored)
    refused(tmp_path, message)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "model.safetensors", {}))
    (tmp_path / "merges.txt").write_bytes(b"a\xff")
    with pytest.raises(FormatError, match=r"merges\.txt: not utf-8 at byte 1 of 2"):
        checkpoint.text("merges.txt")


@pytest.mark.parametrize("name", ["capp-gpt2", "ours-llama-3m", "ours-llama-10m", "stories260K"])
def test_trained_models_open_and_read(name: str) -> None:
    directory = SHARED_MODELS / name
    if not directory.is_dir():
        pytest.skip(f"no trained model in {directory}")
    checkpoint = open_checkpoint(directory)
    assert checkpoint.config is not None
    assert checkpoint.json("tokenizer.json") is not None
    assert [t.name for t in checkpoint.tensors] == sorted(t.name for t in checkpoint.tensors)
    assert all(t.rows(0, t.row_count).nbytes == t.nbytes for t in checkpoint.tensors)
