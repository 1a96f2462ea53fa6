"""A Hugging Face checkpoint: a directory with config.json, tokenizer files and safetensors shards, or one such file.

Nothing in a checkpoint is executed, and no name or link in it leads out of its directory.
"""

import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from quantize_cli.formats import hub
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.file_kind import encoding_of, refuse_wrong_kind
from quantize_cli.formats.json_object import read_object
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.safetensors import read_header
from quantize_cli.formats.source import open_input, read_at_most
from quantize_cli.formats.stored import StoredTensor, refuse_repeated

_WEIGHTS = ".safetensors"
_MOST_TEXT_NBYTES = 64 << 20
"""Of a file beside the weights: several times the largest known tokenizer."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WHOLE = f"model{_WEIGHTS}"
_ADAPTER = "adapter_config.json"
_PICKLE_HINT = "convert it to safetensors first: a pickle can run code, so none is ever loaded"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The description of a checkpoint. The files beside the weights are read on request."""

    path: Path
    """As the user named it."""
    directory: Path
    config: dict[str, Any] | None
    """config.json, or None when there is none."""
    tensors: tuple[StoredTensor, ...]
    """By shard, then by name: the order in which llama.cpp's converter meets them."""
    warnings: tuple[str, ...] = ()
    _parsed: dict[tuple[Path, str], dict[str, Any] | None] = field(default_factory=dict, repr=False, compare=False)

    def file(self, name: str) -> Path | None:
        """A file of the checkpoint, or None when there is none.

        FormatError when the name leads out of the directory, and for a Git LFS pointer or an error page.
        """
        path = _find(self.directory, name)
        if path is not None and path.is_file():
            refuse_wrong_kind(path)
        return path

    def head(self, name: str, nbytes: int) -> bytes | None:
        """The first bytes of a file, or None when there is no such file."""
        path = _find(self.directory, name)
        if path is None:
            return None
        with open_input(path) as file:
            return file.read(nbytes)

    def text(self, name: str) -> str | None:
        """A file's UTF-8 text exactly as stored, line ends included, or None when there is no such file."""
        path = _find(self.directory, name)
        if path is None:
            return None
        stored = read_at_most(path, _MOST_TEXT_NBYTES)
        if not name.endswith(".jinja"):  # which may begin with anything
            refuse_wrong_kind(path, stored)
        try:
            return stored.decode()
        except UnicodeDecodeError as error:
            _, hint = encoding_of(stored) or (None, None)
            raise FormatError(f"{path}: not utf-8 at byte {error.start} of {len(stored)}", hint=hint) from error

    def json(self, name: str, folder: str = "") -> dict[str, Any] | None:
        """A file's JSON object, or None when there is no such file. It is parsed once and shared: do not change it.

        The file may be in a `folder` of the checkpoint.
        """
        key = (self.directory / folder, name)
        if key not in self._parsed:
            self._parsed[key] = _object(self.directory, name, folder=folder)
        return self._parsed[key]


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`: a directory, a .safetensors file, or a shard that stands for all of its index.

    FormatError when there are no weights we read, a shard is missing, or the index and the shards disagree.
    """
    if not path.exists():
        raise hub.not_found_error(path)
    directory = hub.snapshot_of(path) if path.is_dir() else path.parent
    warnings: tuple[str, ...] = ()
    index = _index_of(path, directory)
    if path.is_dir() and _find(directory, _WHOLE):
        tensors, warnings = _whole(directory, index)
    elif index is not None:
        tensors = _indexed(directory, index)
    elif path.is_dir():
        tensors = _merged(_parts(directory))
    else:
        if path.name.endswith(_PICKLES):
            raise FormatError(f"{path}: a pickle, not {_WEIGHTS}", hint=_PICKLE_HINT)
        if not path.name.endswith(_WEIGHTS):
            raise FormatError(f"{path}: neither a directory nor a {_WEIGHTS} file")
        tensors = _merged([path])
    return Checkpoint(path, directory, _object(directory, "config.json"), tensors, warnings)


def open_present(path: Path) -> tuple[Checkpoint, tuple[str, ...]]:
    """The checkpoint at `path` with the shards that are there, and the names of those that are missing.

    FormatError as `open_checkpoint` raises it, but for missing shards.
    """
    directory = hub.snapshot_of(path) if path.is_dir() else path.parent
    promised = _promised(path, directory) if path.exists() else []
    missing = tuple(name for name in promised if _find(directory, name) is None)
    present = [directory / name for name in promised if name not in missing]
    if not missing or not present:
        return open_checkpoint(path), ()
    return Checkpoint(path, directory, _object(directory, "config.json"), _merged(present)), missing


def _promised(path: Path, directory: Path) -> list[str]:
    """The shards that an index lists or that the numbers in their names count; none where one file is the model."""
    if path.is_dir() and _find(directory, _WHOLE):
        return []
    index = _index_of(path, directory)
    if index is not None:
        return sorted(set(_weight_map(directory, index).values()))
    named = [_SHARD.fullmatch(name) for name in _listed(directory) if path.is_dir() and _is_part(name)]
    return sorted(
        {
            f"{series['stem']}-{number:05d}-of-{series['count']}{_WEIGHTS}"
            for series in filter(None, named)
            for number in range(1, int(series["count"]) + 1)
        }
    )


def _whole(directory: Path, index: str | None) -> tuple[tuple[StoredTensor, ...], tuple[str, ...]]:
    """The tensors of model.safetensors, which transformers prefers to every shard, and a warning of what is left out.

    llama.cpp's converter takes every model*.safetensors together, and fails where two of them hold one tensor.
    """
    shards = [] if index is None else sorted(set(_weight_map(directory, index).values()))
    if shards == [_WHOLE]:
        return _indexed(directory, index or ""), ()
    warnings: tuple[str, ...] = ()
    if index is not None:
        warnings = (f"{directory / index}: lists other files, {_WHOLE} is read as transformers does, and no shard",)
    elif others := [name for name in _listed(directory) if name != _WHOLE and _is_part(name)]:
        left_out = f"{quoted(others[0])} and {len(others) - 1} more" if len(others) > 1 else quoted(others[0])
        warnings = (f"{directory}: {_WHOLE} is read as transformers does, and not {left_out}",)
    return _merged([_required(directory, _WHOLE)]), warnings


def _index_of(path: Path, directory: Path) -> str | None:
    """The name of the index that lists the shards, if there is one."""
    shard = _SHARD.fullmatch(path.name)
    if path.is_dir():
        stem = "model"
    elif shard:
        stem = shard["stem"]
    else:
        return None
    name = f"{stem}{_WEIGHTS}.index.json"
    return name if _find(directory, name) else None


def _weight_map(directory: Path, index: str) -> dict[str, str]:
    """Names of tensors -> names of the shards that hold them."""
    where = directory / index
    weight_map = (_object(directory, index, unique_keys=True) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{where}: 'weight_map' is no json object of tensor and shard names")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not shard.endswith(_WEIGHTS):
            raise FormatError(f"{where}: tensor {quoted(name)} is in {quoted(str(shard))}, not a {_WEIGHTS} file")
    return weight_map


def _indexed(directory: Path, index: str) -> tuple[StoredTensor, ...]:
    """The tensors of all shards, which must be exactly those that the index lists."""
    where = directory / index
    weight_map = _weight_map(directory, index)
    sizes = Counter(weight_map.values())
    shards = []
    for shard, count in sorted(sizes.items()):
        path = _find(directory, shard)
        if path is None:
            raise FormatError(
                f"{where}: shard {quoted(shard)} with {count} of {len(weight_map)} tensors is missing",
                hint=f"download it to {directory}",
            )
        shards.append(path)
    tensors = _merged(shards)
    _refuse_differences(where, weight_map, tensors)
    return tensors


def _refuse_differences(where: Path, weight_map: dict[str, str], tensors: tuple[StoredTensor, ...]) -> None:
    """Each tensor is in the shard the index says, and no shard has more."""
    held = {tensor.name: tensor.path.name for tensor in tensors}
    differing = sorted(weight_map.items() ^ held.items())
    if differing:
        name = differing[0][0]
        listed = quoted(weight_map[name]) if name in weight_map else "no shard"
        stored = quoted(held[name]) if name in held else "no shard"
        count = len({name for name, _ in differing})
        raise FormatError(
            f"{where}: lists {len(weight_map)} tensors, the shards hold {len(held)}, {count} differ: "
            f"tensor {quoted(name)} is listed in {listed} and stored in {stored}"
        )


def _merged(shards: list[Path]) -> tuple[StoredTensor, ...]:
    """The tensors of the files, sorted by name within each; FormatError when two files hold one tensor."""
    tensors = [tensor for path in shards for tensor in sorted(read_header(path), key=attrgetter("name"))]
    refuse_repeated(tensors)
    return tuple(tensors)


def _parts(directory: Path) -> list[Path]:
    """The weight files of a directory without an index; FormatError when there are none, or a series has a gap."""
    names = _listed(directory)
    parts = [name for name in names if _is_part(name)]
    if not parts:
        raise _no_weights(directory, names)
    for series in filter(None, map(_SHARD.fullmatch, parts)):
        for number in range(1, int(series["count"]) + 1):
            shard = f"{series['stem']}-{number:05d}-of-{series['count']}{_WEIGHTS}"
            if shard not in parts:
                raise FormatError(f"{directory}: shard {quoted(shard)} is missing", hint=f"download it to {directory}")
    return [_required(directory, name) for name in parts]


def _listed(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise FormatError(f"{directory}: {(error.strerror or 'cannot be listed').lower()}") from error


def _is_part(name: str) -> bool:
    return name.startswith("model") and name.endswith(_WEIGHTS)


def _no_weights(directory: Path, names: list[str]) -> FormatError:
    """The error for a directory without weights that we read, with a hint."""
    if _ADAPTER in names or any(name.startswith("adapter_model.") for name in names):
        return adapter(directory, directory)
    for suffixes, what, hint in (
        ((_WEIGHTS,), f"no model*{_WEIGHTS}", "name the file itself: {}"),
        (_PICKLES, "weights only as pickles", _PICKLE_HINT),
        ((".gguf",), "weights only as gguf", "name the file itself: {}"),
    ):
        first = next((name for name in names if name.lower().endswith(suffixes)), None)
        if first is not None:
            return FormatError(f"{directory}: {what}, but {quoted(first)}", hint=hint.format(quoted(first)))
    return FormatError(f"{directory}: no model*{_WEIGHTS} among its {len(names)} files")


def adapter(path: Path, directory: Path) -> FormatError:
    """The error for a file or directory that holds an adapter instead of a model."""
    config = _object(directory, _ADAPTER) or {}
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    what = f" ({quoted(kind)})" if isinstance(kind, str) else ""
    of = f" of base model {quoted(base)}" if isinstance(base, str) and base else ""
    return FormatError(
        f"{path}: an adapter{what}{of}, not a model",
        hint="name the base model, and the adapter with --lora: quantize convert BASE --lora ADAPTER",
    )


def _object(directory: Path, name: str, unique_keys: bool = False, folder: str = "") -> dict[str, Any] | None:
    path = _find(directory, name, folder)
    if path is None:
        return None
    refuse_wrong_kind(path)
    return read_object(path, unique_keys)


def _required(directory: Path, name: str) -> Path:
    path = _find(directory, name)
    if path is None:
        raise FormatError(f"{directory}: {quoted(name)} is a link to a file that is missing")
    return path


def _find(directory: Path, name: str, folder: str = "") -> Path | None:
    """The file called `name` in the directory, or in a folder of it, or None.

    FormatError when a name or a link leads out of the directory.
    """
    parts = (folder, name) if folder else (name,)
    for part in parts:
        if not part.isprintable() or "/" in part or "\\" in part or part in ("", ".", ".."):
            raise FormatError(f"{directory}: {quoted(part)} is no plain file name")
    path = directory.joinpath(*parts)
    # realpath, because Path.resolve raises on a loop of links before Python 3.13.
    target = Path(os.path.realpath(path))
    home = directory.resolve()
    blobs = _blobs(home)
    # Old downloads into a directory are links into the cache. Those of a snapshot lead into its own repository only.
    allowed = any(map(target.is_relative_to, (home, *blobs))) or (not blobs and hub.is_blob(target))
    if not allowed:
        raise FormatError(
            f"{path}: links to {quoted(str(target))}, outside of the checkpoint",
            hint=f"copy what the links point to: cp -rL {shlex.quote(str(directory))} COPY",
        )
    return path if path.exists() else None


def _blobs(home: Path) -> list[Path]:
    """Where the Hugging Face cache keeps what links in <repository>/snapshots/<revision> point at."""
    return [
        repository / "blobs"
        for repository, snapshots in zip(home.parents[1:], home.parents, strict=False)
        if snapshots.name == "snapshots" and repository.name.startswith(("models--", "datasets--", "spaces--"))
    ]
