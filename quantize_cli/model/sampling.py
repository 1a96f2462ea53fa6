"""The `general.sampling.*` keys: sampling defaults from generation_config.json."""

import math
from typing import Any

import numpy as np

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, text
from quantize_cli.formats.quoted import quoted

_FILE = "generation_config.json"
_KEYS = (
    ("sequence", ("sequence",), ValueType.STRING),
    ("top_k", ("top_k",), ValueType.INT32),
    ("top_p", ("top_p",), ValueType.FLOAT32),
    ("min_p", ("min_p",), ValueType.FLOAT32),
    ("xtc_probability", ("xtc_probability",), ValueType.FLOAT32),
    ("xtc_threshold", ("xtc_threshold",), ValueType.FLOAT32),
    ("temp", ("temperature",), ValueType.FLOAT32),
    ("penalty_last_n", ("penalty_last_n",), ValueType.INT32),
    ("penalty_repeat", ("penalty_repeat", "repetition_penalty"), ValueType.FLOAT32),
    ("mirostat", ("mirostat",), ValueType.INT32),
    ("mirostat_tau", ("mirostat_tau",), ValueType.FLOAT32),
    ("mirostat_eta", ("mirostat_eta",), ValueType.FLOAT32),
)
_LARGEST = {ValueType.INT32: (1 << 31) - 1, ValueType.FLOAT32: float(np.finfo(np.float32).max)}


def sampling_settings(checkpoint: Checkpoint) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The file's settings as GGUF values, and warnings of those that are ignored; FormatError if it is unreadable."""
    config = checkpoint.json(_FILE) or {}
    metadata, warnings = {}, []
    for key, sources, type_ in _KEYS:
        source = next((source for source in sources if source in config), "")
        value = _value(config.get(source), type_)
        if value is not None:
            metadata[f"general.sampling.{key}"] = value
        elif config.get(source) not in (None, ""):
            shown = quoted(str(config[source]))
            problem = "no text" if type_ is ValueType.STRING else "no number that fits"
            warnings.append(f"{checkpoint.directory}/{_FILE}: {source} is {shown}, {problem}, and is ignored")
    return metadata, tuple(warnings)


def _value(setting: Any, type_: ValueType) -> Value | None:
    """None for a setting of another type, or beyond the range of the type."""
    if type_ is ValueType.STRING:
        return text(setting) if isinstance(setting, str) and setting else None
    if isinstance(setting, bool) or not isinstance(setting, int | float):
        return None
    # Compared before it is converted, as an int may exceed every float; nan fails every comparison.
    if not -_LARGEST[type_] <= setting <= _LARGEST[type_]:
        return None
    return Value(type_, math.trunc(setting) if type_ is ValueType.INT32 else float(setting))
