"""The certificate of a file: what it was made of, how, and what that lost, in `quantize.*` keys of its metadata.

    version                       text       of the quantize that made the file
    recipe                        text       as quantize_cli/pipeline/recipe_text.py spells it
    method                        text       how the errors were weighed or spread: "none", "imatrix", or several
    source.sha256                 digest     of the weights it was made of (digest.weights_sha256)
    tensors.sha256                digest     of the tensors it holds (digest.stored_sha256)
    calibration.name              text       the calibration text: its name without a directory,
    calibration.sha256            digest         its bytes,
    calibration.tokens            u32            how many of its tokens were run,
    calibration.context           u32            and in chunks of how many
    training.name                 text       what the weights were trained on: the names of the files,
    training.sha256               digest         the bytes of the file, of several files the digest of their tokens,
    training.method               text           how, as `quantize train` calls it,
    training.steps                u32            in how many steps
    training.tokens               u32            of how many tokens altogether
    evaluation.name               text       the text on which the file was compared with its source,
    evaluation.sha256             digest
    evaluation.context            u32            by the protocol of `quantize eval`,
    evaluation.chunks             u32            on its first chunks
    evaluation.kld_mean           3 x f32    what was found, with the 95 % interval: value, low, high
    evaluation.perplexity_ratio   3 x f32
    evaluation.top1               3 x f32

The keys of `calibration` are there together or not at all, and so are those of `training` and of `evaluation`. All
values but the texts have a fixed size, so a file can be laid out before they are known. `quantize.imatrix.*` are
llama.cpp's keys, and no part of it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text, u32
from quantize_cli.formats.quoted import quoted

PREFIX = "quantize."
_NOT_OURS = "quantize.imatrix."
LONGEST_NAME, _LONGEST_TEXT = 64, 200
LARGEST = 1200
"""Bytes that a certificate takes in a file at the most, unless its recipe has many words or it was trained."""
"""In characters."""
_DIGEST = re.compile("[0-9a-f]{64}")
_HINT = "quantize convert --certify TEXT makes a file with one"


def is_claim(key: str) -> bool:
    """Whether a metadata key is one of a certificate, of this version or another."""
    return key.startswith(PREFIX) and not key.startswith(_NOT_OURS)


@dataclass(frozen=True)
class Figure:
    """A measured number and its 95 % interval, in the precision of a float32."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """The text that errors were weighed on."""

    name: str
    sha256: str
    tokens: int
    context: int


@dataclass(frozen=True)
class Training:
    """The text that weights were trained on, and how."""

    name: str
    sha256: str
    method: str
    steps: int
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """What was measured against the source, and on what."""

    name: str
    sha256: str
    context: int
    chunks: int
    kld_mean: Figure
    perplexity_ratio: Figure
    top1: Figure


@dataclass(frozen=True)
class Certificate:
    """Everything a file claims of its making."""

    version: str
    recipe: str
    method: str
    source: str
    """SHA-256 of the weights."""
    tensors: str
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    training: Training | None = None

    def metadata(self) -> dict[str, Value]:
        """The keys a file states it by. Names are cut, and lose what no terminal should be given."""
        values = {PREFIX + key: kind.written(getattr(self, name)) for name, (key, kind) in _OF_FILE.items()}
        for name, kinds in _OF_PARTS.items():
            part = getattr(self, name)
            if part is not None:
                values |= {f"{PREFIX}{name}.{key}": kind.written(getattr(part, key)) for key, kind in kinds.items()}
        return values

    def stated(self) -> dict[str, Any]:
        """The same without the prefix, as plain data: texts, counts, and lists of value, low and high."""
        return {
            key.removeprefix(PREFIX): list(value.data) if value.type is ValueType.ARRAY else value.data
            for key, value in self.metadata().items()
        }


def read(origin: str, metadata: Mapping[str, Value]) -> Certificate:
    """The certificate in a file's metadata; InputError that begins with `origin` when there is none, or a broken one.

    Every value is of its type, printable and of a sensible size, every number finite; none need be true.
    """
    if not any(is_claim(key) for key in metadata):
        raise InputError(f"{origin}: has no certificate", hint=_HINT)
    whole = {name: _taken(origin, metadata, key, kind) for name, (key, kind) in _OF_FILE.items()}
    return Certificate(
        **whole,
        calibration=_part(origin, metadata, "calibration", Calibration),
        training=_part(origin, metadata, "training", Training),
        evaluation=_part(origin, metadata, "evaluation", Evaluation),
    )


_Part = TypeVar("_Part", Calibration, Training, Evaluation)


def _part(origin: str, metadata: Mapping[str, Value], name: str, make: type[_Part]) -> _Part | None:
    if not any(key.startswith(f"{PREFIX}{name}.") for key in metadata):
        return None
    kinds = _OF_PARTS[name]
    return make(**{key: _taken(origin, metadata, f"{name}.{key}", kind) for key, kind in kinds.items()})


def _taken(origin: str, metadata: Mapping[str, Value], key: str, kind: "_Kind") -> Any:
    value = metadata.get(PREFIX + key)
    if value is None:
        raise InputError(f"{origin}: its certificate is incomplete: no {PREFIX}{key}", hint=_HINT)
    try:
        return kind.read(value)
    except ValueError:
        raise InputError(f"{origin}: {PREFIX}{key} is {_shown(value)}, not {kind.description}", hint=_HINT) from None


def _shown(value: Value) -> str:
    if value.type is ValueType.ARRAY:
        return f"an array of {len(value.data)}"
    return quoted(str(value.data))


# --- kinds of values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """How a claim is written, and read from a file that may hold anything: ValueError for what it may not be."""

    description: str
    written: Callable[[Any], Value]
    read: Callable[[Value], Any]


def is_readable(words: str, longest: int = _LONGEST_TEXT) -> str:
    """Words fit for a file and a terminal: cut if they are long, with a question mark for what is not printable."""
    kept = words if len(words) <= longest else words[: longest - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in kept)


def _text(longest: int) -> _Kind:
    def read(value: Value) -> str:
        if value.type is not ValueType.STRING or not value.data.isprintable() or not 0 < len(value.data) <= longest:
            raise ValueError
        return str(value.data)

    return _Kind(
        f"a printable text of at most {longest} characters", lambda words: text(is_readable(words, longest)), read
    )


def _read_digest(value: Value) -> str:
    if value.type is not ValueType.STRING or not _DIGEST.fullmatch(value.data):
        raise ValueError
    return str(value.data)


def _read_count(value: Value) -> int:
    if value.type is not ValueType.UINT32 or not value.data:
        raise ValueError
    return int(value.data)


def _figure(least: float, most: float) -> _Kind:
    def written(figure: Figure) -> Value:
        return array(ValueType.FLOAT32, [float(getattr(figure, field.name)) for field in fields(figure)])

    def read(value: Value) -> Figure:
        if value.element is not ValueType.FLOAT32 or len(value.data) != len(fields(Figure)):
            raise ValueError
        figure = Figure(*(float(str(np.float32(number))) for number in value.data))
        if not all(isfinite(n) and least <= n <= most for n in (figure.value, figure.low, figure.high)):
            raise ValueError
        return figure

    return _Kind(f"three numbers from {least:g} to {most:g}", written, read)


_DIGEST_KIND = _Kind("64 hex digits", text, _read_digest)
_COUNT_KIND = _Kind("a count from 1 on", u32, _read_count)
_NAME_KIND, _TEXT_KIND = _text(LONGEST_NAME), _text(_LONGEST_TEXT)
_LARGEST = float(np.finfo(np.float32).max)
_OF_FILE = {
    "version": ("version", _TEXT_KIND), "recipe": ("recipe", _TEXT_KIND), "method": ("method", _TEXT_KIND),
    "source": ("source.sha256", _DIGEST_KIND), "tensors": ("tensors.sha256", _DIGEST_KIND),
}  # fmt: skip
"""By the names of Certificate's fields: the keys, and what they hold."""
_OF_CALIBRATION = {"name": _NAME_KIND, "sha256": _DIGEST_KIND, "tokens": _COUNT_KIND, "context": _COUNT_KIND}
_OF_TRAINING = {
    "name": _NAME_KIND, "sha256": _DIGEST_KIND, "method": _TEXT_KIND, "steps": _COUNT_KIND, "tokens": _COUNT_KIND,
}  # fmt: skip
_OF_EVALUATION = {
    "name": _NAME_KIND, "sha256": _DIGEST_KIND, "context": _COUNT_KIND, "chunks": _COUNT_KIND,
    "kld_mean": _figure(0, _LARGEST), "perplexity_ratio": _figure(0, _LARGEST), "top1": _figure(0, 1),
}  # fmt: skip
_OF_PARTS = {"calibration": _OF_CALIBRATION, "training": _OF_TRAINING, "evaluation": _OF_EVALUATION}
"""By the names of Certificate's fields, in the order of their keys."""
