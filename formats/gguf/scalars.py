"""One metadata value as the kind and range that a reader expects: nothing else reads keys that should be scalars.

Each function gives the value under a key, or `default` where there is none. FormatError names the key and what was
found, or that it is missing where there is no default; `source` begins the message: the file and ": ".
"""

from collections.abc import Mapping

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.formats.quoted import quoted

LARGEST_WHOLE = (1 << 31) - 1
"""llama.cpp keeps sizes and counts in 32 bits; none that a file can fill comes near."""
LARGEST_REAL = 1e30
"""Within float32, with room for a product."""

Metadata = Mapping[str, Value]


def whole(
    source: str, metadata: Metadata, key: str, default: int | None = None,
    lowest: int = 0, highest: int = LARGEST_WHOLE,
) -> int:  # fmt: skip
    """A whole number from `lowest` to `highest`."""
    if key not in metadata and default is not None:
        return default
    value = _required(source, metadata, key)
    data = value.data
    if not isinstance(data, int) or isinstance(data, bool) or not lowest <= data <= highest:
        raise _refused(source, key, value, f"a whole number from {lowest} to {highest}")
    return data


def real(
    source: str, metadata: Metadata, key: str, default: float | None = None,
    lowest: float = -LARGEST_REAL, highest: float = LARGEST_REAL,
) -> float:  # fmt: skip
    """A number from `lowest` to `highest`, which NaN never is."""
    if key not in metadata and default is not None:
        return default
    value = _required(source, metadata, key)
    data = value.data
    if not isinstance(data, int | float) or isinstance(data, bool) or not lowest <= data <= highest:
        raise _refused(source, key, value, f"a number from {lowest:g} to {highest:g}")
    return float(data)


def words(source: str, metadata: Metadata, key: str, default: str | None = None) -> str:
    """A text."""
    if key not in metadata and default is not None:
        return default
    value = _required(source, metadata, key)
    if value.type is not ValueType.STRING:
        raise _refused(source, key, value, "a string")
    return str(value.data)


def truth(source: str, metadata: Metadata, key: str, default: bool | None = None) -> bool:
    """True or false."""
    if key not in metadata and default is not None:
        return default
    value = _required(source, metadata, key)
    if value.type is not ValueType.BOOL:
        raise _refused(source, key, value, "true or false")
    return bool(value.data)


def shown(value: Value) -> str:
    """A value for a message: an array by its size alone."""
    if value.type is ValueType.ARRAY:
        return f"an array of {len(value.data)}"
    if value.type is ValueType.STRING:
        return quoted(value.data)
    return str(value.data).lower()


def _refused(source: str, key: str, value: Value, expected: str) -> FormatError:
    return FormatError(f"{source}metadata key '{key}' is {shown(value)}, not {expected}")


def _required(source: str, metadata: Metadata, key: str) -> Value:
    if key not in metadata:
        raise FormatError(f"{source}metadata key '{key}' is missing")
    return metadata[key]
