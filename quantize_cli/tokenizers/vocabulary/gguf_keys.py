"""The `tokenizer.ggml.*` keys of a GGUF file. Each key has the type that llama.cpp requires, or is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, ValueType

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""`tokenizer.ggml.token_type` (enum llama_token_type)."""

_PREFIX = "tokenizer.ggml."
_FLAG = frozenset((ValueType.BOOL,))
_TEXT = frozenset((ValueType.STRING,))
_WHOLE = frozenset(type_ for type_ in ValueType if type_.name.startswith(("INT", "UINT")))
_NUMBER = _WHOLE | {ValueType.FLOAT32, ValueType.FLOAT64}
_NAMES = {_FLAG: "bool", _TEXT: "string", _WHOLE: "whole number", _NUMBER: "number"}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and the other `tokenizer.ggml.*` keys."""

    texts: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    metadata: Mapping[str, Value] = field(repr=False)

    def flag(self, key: str, default: bool) -> bool:
        return bool(_scalar(self.metadata, key, _FLAG, default))

    def text(self, key: str, default: str) -> str:
        return str(_scalar(self.metadata, key, _TEXT, default))

    def strings(self, key: str) -> Sequence[str]:
        """Empty without the key."""
        texts: Sequence[str] = _array(self.metadata, key, _TEXT, [])
        return texts

    def token(self, role: str, default: int | None = None) -> int | None:
        """A special token's id; ids beyond the vocabulary are ignored, as in llama.cpp."""
        for number in (_scalar(self.metadata, f"{role}_token_id", _WHOLE, default), default):
            if number is not None and 0 <= number < len(self.texts):
                return int(number)
        return None

    def tokens(self, key: str) -> list[int]:
        """The ids of an array, without those beyond the vocabulary."""
        return [int(number) for number in _array(self.metadata, key, _WHOLE, []) if 0 <= number < len(self.texts)]


def vocabulary(metadata: Mapping[str, Value]) -> Vocabulary:
    """The tokens of a GGUF file; InputError when its arrays are missing, of other types, or differ in length."""
    texts: Sequence[str] = _array(metadata, "tokens", _TEXT, None)
    types = _array(metadata, "token_type", _WHOLE, [NORMAL] * len(texts))
    scores = _array(metadata, "scores", _NUMBER, [0.0] * len(texts))
    for name, values in (("token_type", types), ("scores", scores)):
        if len(values) != len(texts):
            raise InputError(f"'{_PREFIX}{name}' has {len(values)} entries for {len(texts)} tokens")
    floats = tuple(map(float, scores))
    undefined = next((token for token, score in enumerate(floats) if math.isnan(score)), None)
    if undefined is not None:
        raise InputError(f"'{_PREFIX}scores' is nan for token {undefined} of {len(texts)}")
    named = (text if text else f"[EMPTY_{token}]" for token, text in enumerate(texts))
    return Vocabulary(tuple(named), tuple(map(int, types)), floats, metadata)


def model_of(metadata: Mapping[str, Value]) -> str | None:
    """llama.cpp's name for the kind of tokenizer; None without the key."""
    name: str | None = _scalar(metadata, "model", _TEXT, None)
    return name


def _scalar(metadata: Mapping[str, Value], name: str, types: frozenset[ValueType], default: Any) -> Any:
    value = metadata.get(f"{_PREFIX}{name}")
    if value is None:
        return default
    if value.type not in types:
        raise InputError(f"'{_PREFIX}{name}' is of type {_spelled(value)}, not a {_NAMES[types]}")
    return value.data


def _array(metadata: Mapping[str, Value], name: str, types: frozenset[ValueType], default: Any) -> Any:
    value = metadata.get(f"{_PREFIX}{name}")
    if value is None and default is not None:
        return default
    if value is None or value.element is None:
        raise InputError(f"'{_PREFIX}{name}' is missing or no array")
    if value.element not in types:
        raise InputError(f"'{_PREFIX}{name}' is of type {_spelled(value)}, not an array of {_NAMES[types]}s")
    return value.data


def _spelled(value: Value) -> str:
    """A value's type, in the words of gguf.md."""
    if value.element is None:
        return value.type.name.lower()
    return f"array of {value.element.name.lower()}, {len(value.data)} of them"
