"""Metadata from `--set`: `KEY=VALUE`, or `KEY=TYPE:VALUE` for a new key."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from quantize_cli.certificate.statement import PREFIX
from quantize_cli.errors import UsageError
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.formats.quoted import quoted

_NAMES = {
    **{f"{letter}{bits}": ValueType[f"{name}{bits}"]
       for bits in (8, 16, 32, 64) for letter, name in (("u", "UINT"), ("i", "INT"))},
    "f32": ValueType.FLOAT32, "f64": ValueType.FLOAT64, "bool": ValueType.BOOL, "str": ValueType.STRING,
}  # fmt: skip
_TRUTHS = {"true": True, "false": False}
_OF_THE_RECIPE = ("general.file_type", "general.quantization_version")


def apply_settings(metadata: Mapping[str, Value], settings: Iterable[str]) -> dict[str, Value]:
    """The metadata changed by each `KEY=VALUE` of `settings`; UsageError for an invalid one."""
    changed = dict(metadata)
    for text in settings:
        key, value = _parse(text, changed)
        changed[key] = value
    return changed


def _parse(text: str, metadata: Mapping[str, Value]) -> tuple[str, Value]:
    key, equals, written = text.partition("=")
    if not (key and equals):
        raise UsageError(f"--set {quoted(text)}: not of the form KEY=VALUE", hint="--set general.name='My model'")
    if key in _OF_THE_RECIPE:
        raise UsageError(f"--set {quoted(text)}: {key} follows from the types chosen")
    if key.startswith(PREFIX):
        raise UsageError(f"--set {quoted(text)}: {PREFIX}* states how a file was made, which is not for hands to set")
    name, colon, rest = written.partition(":")
    if colon and name in _NAMES:
        return key, _value(_NAMES[name], rest, text)
    if key not in metadata:
        raise UsageError(f"--set {quoted(text)}: {quoted(key)} is a new key, so its type must be said", hint=_hint(key))
    if metadata[key].type is ValueType.ARRAY:
        raise UsageError(f"--set {quoted(text)}: {quoted(key)} is an array, which cannot be set")
    return key, _value(metadata[key].type, written, text)


def _hint(key: str) -> str:
    return f"--set {key}=str:TEXT, or one of " + ", ".join(_NAMES)


def _value(type_: ValueType, written: str, text: str) -> Value:
    readers: dict[ValueType, Callable[[str], Any]] = {
        ValueType.STRING: str,
        ValueType.BOOL: lambda word: _TRUTHS[word.lower()],
        ValueType.FLOAT32: float,
        ValueType.FLOAT64: float,
    }
    try:
        return Value(type_, readers.get(type_, int)(written))
    except (ValueError, KeyError):
        raise UsageError(f"--set {quoted(text)}: {quoted(written)} is no {type_.name.lower()}") from None
