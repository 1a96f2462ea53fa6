"""Metadata values that must be scalars, read with the type and range that the caller expects.

Each function gives the value of a key, or `default` where the key is missing. FormatError for a missing key without
a default, and for another type or range; `source` begins its message: the file and ": ".
"""

from collections.abc import Callable, Mapping
from typing import Any

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.formats.quoted import quoted

MAX_INTEGER = (1 << 31) - 1
"""llama.cpp keeps sizes and counts in 32 bits, which is far more than any file needs."""
MAX_NUMBER = 1e30
"""Within float32, with room for a product."""

Metadata = Mapping[str, Value]


def integer(
    source: str, metadata: Metadata, key: str, default: int | None = None,
    lowest: int = 0, highest: int = MAX_INTEGER,
) -> int:  # fmt: skip
    """A whole number from `lowest` to `highest`."""
    expected = f"a whole number from {lowest} to {highest}"
    return int(_value(source, metadata, key, default, (_is(int, lowest, highest), expected)))


def number(
    source: str, metadata: Metadata, key: str, default: float | None = None,
    lowest: float = -MAX_NUMBER, highest: float = MAX_NUMBER,
) -> float:  # fmt: skip
    """A number from `lowest` to `highest`, which NaN never is."""
    expected = f"a number from {lowest:g} to {highest:g}"
    return float(_value(source, metadata, key, default, (_is(int | float, lowest, highest), expected)))


def string(source: str, metadata: Metadata, key: str, default: str | None = None) -> str:
    """A text."""
    return str(_value(source, metadata, key, default, (lambda data: isinstance(data, str), "a string")))


def boolean(source: str, metadata: Metadata, key: str, default: bool | None = None) -> bool:
    """True or false."""
    return bool(_value(source, metadata, key, default, (lambda data: isinstance(data, bool), "true or false")))


def _is(type_: Any, lowest: float, highest: float) -> Callable[[Any], bool]:
    return lambda data: isinstance(data, type_) and not isinstance(data, bool) and lowest <= data <= highest


def _value(source: str, metadata: Metadata, key: str, default: Any, expected: tuple[Callable[[Any], bool], str]) -> Any:
    """`expected` tells whether a value is allowed, and says in words which are."""
    if key not in metadata:
        if default is not None:
            return default
        raise FormatError(f"{source}metadata key '{key}' is missing")
    value, (is_allowed, words_for_it) = metadata[key], expected
    if not is_allowed(value.data):
        raise FormatError(f"{source}metadata key '{key}' is {value_text(value)}, not {words_for_it}")
    return value.data


def value_text(value: Value) -> str:
    """A value for a message: an array by its size alone."""
    if value.type is ValueType.ARRAY:
        return f"an array of {len(value.data)}"
    if value.type is ValueType.STRING:
        return quoted(value.data)
    return str(value.data).lower()
