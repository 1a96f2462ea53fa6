"""One model in several GGUF files: `name-00001-of-00003.gguf`, as llama-gguf-split names and marks them.

Every file holds split.no (u16, from 0), split.count (u16) and split.tensors.count (i32, of all files together); only
the first holds the model's own metadata.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import MAGIC, Value, ValueType
from quantize_cli.formats.gguf.reader import GgufFile, read_gguf
from quantize_cli.formats.gguf.rules import padded
from quantize_cli.formats.source import open_input
from quantize_cli.formats.stored import StoredTensor, refuse_repeated

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
KEYS = (NUMBER, COUNT, TENSORS)

_MOST_FILES = 99_999
"""The names have five digits."""
_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def shard_path(path: Path, number: int, count: int) -> Path:
    """Where shard `number` (from 0) of a model called `path` goes."""
    return path.with_name(f"{path.stem}-{number + 1:05d}-of-{count:05d}.gguf")


def split_metadata(number: int, count: int, tensors: int) -> dict[str, Value]:
    """The metadata that numbers one file of a split model."""
    return {
        NUMBER: Value(ValueType.UINT16, number),
        COUNT: Value(ValueType.UINT16, count),
        TENSORS: Value(ValueType.INT32, tensors),
    }


def read_model(path: Path) -> tuple[GgufFile, tuple[StoredTensor, ...]]:
    """The file with a model's metadata, and the tensors of all its files; `path` is any of them.

    FormatError for a shard that is missing or belongs elsewhere, and for a tensor that two of them hold.
    """
    named = read_gguf(path)
    refuse_concatenated(named)
    count = _mark(named, COUNT, _MOST_FILES)
    if count <= 1:
        return named, named.tensors
    match = _NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise FormatError(
            f"{path}: one of {count} files of a model, but its name does not say which",
            hint=f"name it like model-00001-of-{count:05d}.gguf",
        )
    stem = path.with_name(match["stem"] + ".gguf")
    files = [_shard(shard_path(stem, number, count), number, count) for number in range(count)]
    tensors = tuple(tensor for file in files for tensor in file.tensors)
    declared = _mark(files[0], TENSORS)
    if declared != len(tensors):
        raise FormatError(f"{files[0].path}: states {declared} tensors, its files hold {len(tensors)}")
    refuse_repeated(tensors)
    return files[0], tensors


def refuse_concatenated(file: GgufFile) -> None:
    """FormatError when a second GGUF file follows in the same file: cat does not merge shards."""
    end = max((tensor.offset + tensor.nbytes for tensor in file.tensors), default=file.data_offset)
    with open_input(file.path) as stored:
        for begin in (end, padded(end, file.alignment)):
            stored.seek(begin)
            if stored.read(len(MAGIC)) == MAGIC:
                raise FormatError(
                    f"{file.path}: a second gguf file begins at byte {begin}",
                    hint="files joined by cat: name the first of the original files instead, or join them with "
                    "llama-gguf-split --merge",
                )


def without_split_metadata(metadata: Mapping[str, Value]) -> dict[str, Value]:
    """The model's own metadata."""
    return {key: value for key, value in metadata.items() if key not in KEYS}


def _shard(path: Path, number: int, count: int) -> GgufFile:
    if not path.exists():
        raise FormatError(f"{path}: missing, one of {count} files of a model", hint=f"download it to {path.parent}")
    file = read_gguf(path)
    if (_mark(file, NUMBER), _mark(file, COUNT)) != (number, count):
        raise FormatError(
            f"{path}: says it is file {_mark(file, NUMBER)} of {_mark(file, COUNT)}, not {number} of {count}"
        )
    return file


def _mark(file: GgufFile, key: str, highest: int = scalars.MAX_INTEGER) -> int:
    return scalars.integer(f"{file.path}: ", file.metadata, key, 0, highest=highest)
