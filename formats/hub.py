"""Where huggingface_hub keeps downloads: `models--<org>--<name>` with blobs/, refs/ and snapshots/<revision>/.

Files of a snapshot are links to blobs named by their hash.
"""

import os
import re
from pathlib import Path

from quantize_cli.formats.errors import FormatError

_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--(?P<id>.+)")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY_ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?")
_MAX_REF_NBYTES = 256


def repository_id(directory: Path) -> str | None:
    """ "org/Name" for a repository in a cache or a snapshot of it, None for any other directory."""
    for candidate in (directory.absolute(), directory.resolve()):
        repository = candidate.parent.parent if candidate.parent.name == "snapshots" else candidate
        match = _REPOSITORY.fullmatch(repository.name)
        if match and (repository / "snapshots").is_dir():
            return match["id"].replace("--", "/", 1)
    return None


def model_name(path: Path) -> str:
    """A checkpoint's name: that of its repository in a cache, else that of the file or directory."""
    repository = repository_id(path if path.is_dir() else path.parent)
    if repository is not None:
        return repository.rpartition("/")[2]
    target = path.resolve()
    return target.name if path.is_dir() else (path if is_blob(target) else target).stem


def snapshot_of(directory: Path) -> Path:
    """The snapshot to read for a repository's directory in a cache; any other directory as it is.

    FormatError naming the snapshots when there are several and refs/main names none.
    """
    if not _REPOSITORY.fullmatch(directory.resolve().name) or not (directory / "snapshots").is_dir():
        return directory
    directories = (path for path in (directory / "snapshots").iterdir() if path.is_dir())
    snapshots = sorted(path for path in directories if path.name.isprintable())
    main = _main(directory)
    if main is not None and (directory / "snapshots" / main) in snapshots:
        return directory / "snapshots" / main
    if len(snapshots) == 1:
        return snapshots[0]
    raise FormatError(
        f"{directory}: {len(snapshots)} snapshots, and refs/main names none of them",
        hint=f"name one: {snapshots[0]}" if snapshots else "download the model again",
    )


def _main(directory: Path) -> str | None:
    path = directory / "refs" / "main"
    if not path.is_file() or path.stat().st_size > _MAX_REF_NBYTES:
        return None
    revision = path.read_bytes().decode("ascii", "replace").strip()
    return revision if re.fullmatch(r"[0-9a-f]{4,64}", revision) else None


def is_blob(target: Path) -> bool:
    """Whether this is a file of some repository in a cache, named by its hash."""
    return (
        _BLOB.fullmatch(target.name) is not None
        and target.parent.name == "blobs"
        and _REPOSITORY.fullmatch(target.parent.parent.name) is not None
    )


def not_found_error(path: Path) -> FormatError:
    """The error for a path that does not exist; for a repository's id the hint says where the model is."""
    message = f"{path}: no such file or directory"
    named = str(path)
    if not _REPOSITORY_ID.fullmatch(named) or named.endswith((".gguf", ".safetensors")):
        return FormatError(message)
    for cache in _caches():
        repository = cache / f"models--{named.replace('/', '--')}"
        if repository.is_dir():
            return FormatError(message, hint=f"the hugging face cache has it: {repository}")
    if "/" not in named:
        return FormatError(message)
    local = named.rpartition("/")[2]
    return FormatError(message, hint=f"if this is a repository: hf download {named} --local-dir {local}")


def _caches() -> list[Path]:
    """Where huggingface_hub looks, in its order."""
    variables = [os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE")]
    caches = [Path(value) for value in variables if value]
    if os.environ.get("HF_HOME"):
        return [*caches, Path(os.environ["HF_HOME"]) / "hub"]
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    return [*caches, Path(home) / ".cache" / "huggingface" / "hub"] if home else caches
