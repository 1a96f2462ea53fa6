"""Layouts of huggingface_hub: its cache, its repositories, and directories of links into it."""

from pathlib import Path

import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.hub import model_name, repository_id
from tests.formats.build import write_safetensors

REVISION = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
BLOB = "ab" * 32


def repository(root: Path, *revisions: str, main: str | None = None) -> Path:
    """A repository of a cache, each snapshot with a link to the same weights."""
    place = root / "models--org--Tiny-1M"
    (place / "blobs").mkdir(parents=True)
    write_safetensors(place / "blobs" / BLOB, {"a": [1]})
    for revision in revisions:
        (place / "snapshots" / revision).mkdir(parents=True)
        (place / "snapshots" / revision / "model.safetensors").symlink_to(f"../../blobs/{BLOB}")
    if main is not None:
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(main)
    return place


def test_a_snapshot_is_called_after_its_repository(tmp_path: Path) -> None:
    place = repository(tmp_path, REVISION)
    snapshot = place / "snapshots" / REVISION
    for path in (place, snapshot, snapshot / "model.safetensors"):
        assert model_name(path) == "Tiny-1M"
    assert repository_id(snapshot) == "org/Tiny-1M"


def test_other_paths_are_called_as_they_are(tmp_path: Path) -> None:
    repository(tmp_path, REVISION)
    (tmp_path / "plain").mkdir()
    assert (model_name(tmp_path / "plain"), model_name(tmp_path / "plain" / "my.model.gguf")) == ("plain", "my.model")
    (tmp_path / "weights.safetensors").symlink_to(tmp_path / "models--org--Tiny-1M" / "blobs" / BLOB)
    assert model_name(tmp_path / "weights.safetensors") == "weights"
    assert repository_id(tmp_path / "plain") is None


def test_a_repository_stands_for_its_main_snapshot(tmp_path: Path) -> None:
    place = repository(tmp_path, OTHER, REVISION, main=REVISION)
    assert open_checkpoint(place).directory == place / "snapshots" / REVISION


def test_a_repository_stands_for_its_only_snapshot(tmp_path: Path) -> None:
    place = repository(tmp_path, REVISION)
    assert open_checkpoint(place).directory == place / "snapshots" / REVISION


@pytest.mark.parametrize("main", [None, "../../..", "e" * 40, "\xff" * 9000])
def test_one_of_several_snapshots_must_be_named(main: str | None, tmp_path: Path) -> None:
    place = repository(tmp_path, OTHER, REVISION, main=main)
    with pytest.raises(FormatError, match="2 snapshots, and refs/main names none of them") as caught:
        open_checkpoint(place)
    assert str(place / "snapshots" / REVISION) in (caught.value.hint or "")


def test_a_directory_of_links_into_a_cache_is_read(tmp_path: Path) -> None:
    place = repository(tmp_path / "hub", REVISION)
    (tmp_path / "local dir").mkdir()
    (tmp_path / "local dir" / "model.safetensors").symlink_to(place / "blobs" / BLOB)
    assert [tensor.name for tensor in open_checkpoint(tmp_path / "local dir").tensors] == ["a"]


@pytest.mark.parametrize("target", ["elsewhere/weights", f"blobs/{BLOB}", "models--org--Tiny-1M/blobs/named"])
def test_a_link_to_anything_else_is_refused_with_what_to_do(target: str, tmp_path: Path) -> None:
    write_safetensors_at(tmp_path / target)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model.safetensors").symlink_to(tmp_path / target)
    with pytest.raises(FormatError, match="outside of the checkpoint") as caught:
        open_checkpoint(tmp_path / "local")
    assert caught.value.hint == f"copy what the links point to: cp -rL {tmp_path / 'local'} COPY"


def write_safetensors_at(path: Path) -> None:
    path.parent.mkdir(parents=True)
    write_safetensors(path, {"a": [1]})


def test_a_repository_id_is_told_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = repository(tmp_path, REVISION)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match=r"org/Tiny-1M: no such file or directory") as caught:
        open_checkpoint(Path("org/Tiny-1M"))
    assert caught.value.hint == f"the hugging face cache has it: {place}"


def test_a_repository_id_that_is_nowhere_is_told_how_to_come_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError) as caught:
        open_checkpoint(Path("org/Tiny-1M"))
    assert caught.value.hint == "if this is a repository: hf download org/Tiny-1M --local-dir Tiny-1M"
    with pytest.raises(FormatError) as caught:
        open_checkpoint(Path("a/b/c"))
    assert caught.value.hint is None
