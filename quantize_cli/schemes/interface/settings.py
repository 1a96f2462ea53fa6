"""What a checkpoint says about its quantization: in config.json, or in a file of its own beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.quoted import quoted

_KEYS = ("quantization_config", "compression_config")
_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
"""Files beside config.json, and who writes them."""


@dataclass(frozen=True)
class Settings:
    """The configuration of a quantization; an empty one where the checkpoint says nothing."""

    where: str
    """The file, for messages."""
    values: Mapping[str, Any]
    checkpoint: Checkpoint = field(repr=False, compare=False)

    @property
    def method(self) -> str:
        """What `quant_method` says, in lower case; "" where it says nothing.

        auto-round writes the layouts of others, and says which: "auto-round:gptq", "auto-round:awq".
        """
        method = self.values.get("quant_method")
        method = method.lower() if isinstance(method, str) else ""
        if method == "auto-round":
            packing = self.text("packing_format", "auto_round:auto_gptq")
            return f"{method}:{'awq' if 'awq' in packing else 'gptq' if 'gptq' in packing else packing}"
        return method

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; InputError when it is none, or is not there and has no default."""
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not int:
            raise InputError(f"{self.where}: {quoted(key)} is {quoted(str(value))}, not a whole number")
        return value

    def switch(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not bool:
            raise InputError(f"{self.where}: {quoted(key)} is {quoted(str(value))}, neither true nor false")
        return value

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            raise InputError(f"{self.where}: {quoted(key)} is {quoted(str(value))}, not a text")
        return value

    def inner(self, key: str) -> "Settings":
        """The object that a key holds, empty where it is not there."""
        value = self.values.get(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise InputError(f"{self.where}: {quoted(key)} is {quoted(str(value))}, not an object")
        return Settings(f"{self.where}: {quoted(key)}", value, self.checkpoint)

    def refuse(self, key: str) -> InputError:
        """The error for a value that is not supported."""
        return InputError(f"{self.where}: {quoted(key)} {quoted(str(self.values.get(key)))} is not supported")


def settings_of(checkpoint: Checkpoint) -> Settings:
    """What the checkpoint says of its quantization."""
    config = checkpoint.config or {}
    for key in _KEYS:
        if isinstance(config.get(key), dict) and config[key]:
            return Settings(f"{checkpoint.directory}/config.json", config[key], checkpoint)
    for name, method in _FILES.items():
        if values := checkpoint.json(name):
            inner = values.get("quantization")
            values = {"quant_method": method, **(inner if isinstance(inner, dict) else values)}
            return Settings(f"{checkpoint.directory}/{name}", values, checkpoint)
    return Settings(str(checkpoint.path), {}, checkpoint)


def describe(settings: Settings) -> str:
    """The method and its size: "gptq, 4 bits"."""
    values = settings.values
    method = values.get("quant_method") or values.get("quant_algo") or "an unnamed method"
    bits = values.get("bits", values.get("w_bit"))
    if bits is None:
        bits = next((width for width in (4, 8) if values.get(f"load_in_{width}bit") is True), None)
    details = [str(method)[:40] if str(method).isprintable() else quoted(str(method))]
    if isinstance(values.get("quant_algo"), str) and "quant_method" in values:
        details.append(quoted(values["quant_algo"]))
    if isinstance(bits, int) and 0 < bits <= 32:
        details.append(f"{bits} bits")
    elif isinstance(values.get("format"), str):
        details.append(quoted(values["format"]))
    return ", ".join(details)
