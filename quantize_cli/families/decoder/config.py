"""config.json read without trust: each value is asked for by key and type."""

from collections.abc import Mapping
from reprlib import Repr
from types import ModuleType
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted

Config = Mapping[str, Any]

_SHORT = Repr()


def spelled(value: object) -> str:
    """A value of config.json for a message: quoted, short however large the value is."""
    if value is None or isinstance(value, bool):
        return quoted({None: "null", True: "true", False: "false"}[value])
    return quoted(value if isinstance(value, str) else _SHORT.repr(value))


def count(config: Config, key: str) -> int:
    """A positive whole number; InputError naming the key otherwise."""
    value = config.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise InputError(f"config.json: key '{key}' is {spelled(value)}, not a positive whole number below 2**31")
    return value


def number(config: Config, key: str) -> float:
    """A number; InputError naming the key otherwise."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e30 or value != value:
        raise InputError(f"config.json: key '{key}' is {spelled(value)}, not a number")
    return float(value)


def switch(config: Config, key: str) -> bool:
    """A key that is true or false, false when it is absent or null; InputError naming the key otherwise."""
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"config.json: key '{key}' is {spelled(value)}, neither true nor false")
    return bool(value)


def with_defaults(config: Config, family: ModuleType) -> dict[str, Any]:
    """The config with what transformers' config class fills in: the family's DEFAULTS, and its ALIASES resolved.

    Three keys are derived when they are null or their default is: `num_key_value_heads` (as many as query heads),
    `head_dim` (an equal share of the hidden size) and `intermediate_size` (four times the hidden size).
    """
    config = _whole(config, getattr(family, "INNER", None))
    aliases = getattr(family, "ALIASES", {})
    filled = {**family.DEFAULTS, **{aliases.get(key, key): value for key, value in config.items()}}
    if filled["tie_word_embeddings"] is None:
        filled["tie_word_embeddings"] = family.DEFAULTS["tie_word_embeddings"]
    if "num_key_value_heads" in filled and filled["num_key_value_heads"] is None:
        filled["num_key_value_heads"] = count(filled, "num_attention_heads")
    if "head_dim" in filled and filled["head_dim"] is None:
        filled["head_dim"] = count(filled, "hidden_size") // count(filled, "num_attention_heads")
    if "intermediate_size" in filled and filled["intermediate_size"] is None:
        filled["intermediate_size"] = 4 * count(filled, "hidden_size")
    return filled


def _whole(config: Config, inner: str | None) -> Config:
    """The config with the keys of the text model, which a multimodal one has in an object of their own."""
    text = config.get(inner) if inner else None
    if inner is None or text is None:
        return config
    if not isinstance(text, Mapping):
        raise InputError(f"config.json: key '{inner}' is {spelled(text)}, not an object")
    outer = {key: value for key, value in config.items() if key != inner}
    own = {key: value for key, value in text.items() if key not in ("architectures", "model_type")}
    return {**outer, **own}


def architecture_class(config: Config) -> str:
    """The name of the model class the checkpoint was saved from, or ""."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""
