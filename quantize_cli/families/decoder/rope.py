"""Rotary position parameters: the spellings of config.json, GGUF keys, and Llama 3's frequency factors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import keys
from quantize_cli.families.decoder.config import Config, count, number, spelled
from quantize_cli.formats.gguf.layout import Value, f32, text, u32

_DEFAULT_BASE = 10000.0
_LEAST, _LARGEST = 1e-6, 1e15
"""Of bases and factors: far beyond any model's, and far within float32."""
_STRETCHED = ("llama3", "yarn", "longrope")
"""Types that need the context length of before they were stretched."""
_EXPRESSED = ("default", "linear", "yarn", "dynamic")
_EXPRESSED_BY_TENSOR = {
    "llama": ("llama3", "longrope"),
    "granite": ("llama3",),
    "exaone": ("llama3",),
    "phi3": ("longrope",),
    "minicpm": ("longrope",),
}
"""By architecture, the types that a tensor of divisors expresses; elsewhere llama.cpp loads none."""
_YARN_FIXED = {"beta_fast": 32.0, "beta_slow": 1.0, "extrapolation_factor": 1.0, "truncate": True}
"""llama.cpp reads no key for these in the architectures here, though its converter writes some."""
_KNOWN = {
    *("rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "partial_rotary_factor"),
    *(
        "low_freq_factor",
        "high_freq_factor",
        "attention_factor",
        "attn_factor",
        "mscale",
        "mscale_all_dim",
        "finetuned",
    ),
    *("short_factor", "long_factor"),
    *_YARN_FIXED,
}
_OTHER_NAMES = {"su": "longrope"}
"""Of types, in the first checkpoints that had them."""


def parameters(config: Config) -> dict[str, Any]:
    """One spelling of both: `rope_parameters` (new), and `rope_theta` beside `rope_scaling` (old), completed."""
    merged = _stated(config)
    base = config.get("rope_theta")
    rope = {"rope_theta": _DEFAULT_BASE if base is None else base, **merged}
    kind = merged.get("rope_type", merged.get("type", "default"))
    rope["rope_type"] = _OTHER_NAMES.get(kind, kind) if isinstance(kind, str) else kind
    if rope["rope_type"] in _STRETCHED:
        original = config.get("original_max_position_embeddings")
        rope.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
        if original is not None:
            rope["original_max_position_embeddings"] = original
    return rope


def _stated(config: Config) -> dict[str, Any]:
    """What either spelling says, null left out; where both are there, each says what the other does not."""
    merged: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        part = config.get(key) or {}
        if isinstance(part, Mapping):
            part = part.get("full_attention", part)
        if not isinstance(part, Mapping):
            raise InputError(f"config.json: the rotary parameters are {spelled(part)}, not an object")
        merged.update({name: value for name, value in part.items() if value is not None})
    return merged


def remarks(config: Config) -> tuple[str, ...]:
    """A warning for rotary parameters nobody knows, and one for a type that changes with the length of the text."""
    stated, told = _stated(config), []
    if unknown := sorted(key for key in stated if key not in _KNOWN):
        told.append(keys.unknown_keys([f"rope_scaling.{key}" for key in unknown]))
    if stated.get("rope_type", stated.get("type")) == "dynamic":
        # Transformers changes the base only for texts longer than the context.
        told.append(
            "config.json: rope type 'dynamic' has no key in the file: the model is the same up to "
            f"{count(config, 'max_position_embeddings')} tokens"
        )
    return tuple(told)


def local_base(config: Config, default: float) -> float:
    """The base by which layers with a window rotate."""
    part = config.get("rope_parameters") or {}
    part = part.get("sliding_attention") if isinstance(part, Mapping) else None
    stated = part.get("rope_theta") if isinstance(part, Mapping) else config.get("rope_local_base_freq")
    return default if stated is None else _positive({"rope_theta": stated}, "rope_theta")


def rotated(config: Config, width: int) -> int:
    """How many of a head's columns turn."""
    rope = parameters(config)
    key = "partial_rotary_factor"
    share = number(rope if rope.get(key) is not None else config, key)
    if not 0 < share <= 1:
        raise InputError(f"config.json: key '{key}' is {share}, not above 0 and at most 1")
    return int(share * width)


def states_base(config: Config) -> bool:
    """Whether the config says by which base heads rotate."""
    return config.get("rope_theta") is not None or "rope_theta" in _stated(config)


def unless_usual(entries: Mapping[str, Value]) -> dict[str, Value]:
    """Without a base that engines take where none is stated."""
    return {
        key: value
        for key, value in entries.items()
        if not (key.endswith(".rope.freq_base") and value.data == _DEFAULT_BASE)
    }


def metadata(architecture: str, rope: Config, context: int, partly: bool = False) -> dict[str, Value]:
    """The `<architecture>.rope.*` keys; InputError for a scaling that no key or tensor of ours can express.

    Without `partly` all columns of a head must turn.
    """
    prefix = f"{architecture}.rope"
    entries = {f"{prefix}.freq_base": f32(_positive(rope, "rope_theta"))}
    kind = rope["rope_type"]
    _refuse_kind(architecture, kind)
    if not partly:
        keys.refuse_other(architecture, "partial_rotary_factor", rope.get("partial_rotary_factor"), (1.0,))
    if kind == "longrope":
        entries.update(_longrope(architecture, rope, context))
    if kind in ("linear", "yarn"):
        factor = _factor(rope, context)
        entries[f"{prefix}.scaling.type"] = text(kind)
        entries[f"{prefix}.scaling.factor"] = f32(factor)
        if kind == "yarn":
            entries.update(_yarn(architecture, rope, factor))
    return entries


def _refuse_kind(architecture: str, kind: object) -> None:
    known = (*_EXPRESSED, *_EXPRESSED_BY_TENSOR.get(architecture, ()))
    if kind in known or (isinstance(kind, str) and kind.lower() == "llama3" and "llama3" in known):
        return
    raise InputError(
        f"config.json: rope type {spelled(kind)} is not supported for '{architecture}', whose graph in llama.cpp "
        "cannot express it",
        hint=f"known: {', '.join(known)}",
    )


def _factor(rope: Config, context: int) -> float:
    """How many times longer the context is than before; transformers takes the quotient where none is stated."""
    original = rope.get("original_max_position_embeddings")
    if rope.get("factor") is None and original is not None and rope["rope_type"] == "yarn":
        return context / count(rope, "original_max_position_embeddings")
    return _positive(rope, "factor")


def _positive(rope: Config, key: str) -> float:
    """A number that can be divided by in float32; InputError naming the key otherwise."""
    value = number(rope, key)
    if not _LEAST <= value <= _LARGEST:
        raise InputError(f"config.json: key '{key}' is {value}, not from {_LEAST:g} to {_LARGEST:g}")
    return value


def _yarn(architecture: str, rope: Config, factor: float) -> dict[str, Value]:
    """What YaRN needs besides its factor.

    The magnitude of rotated vectors is llama.cpp's own (0.1 ln(factor) + 1) times `scaling.attn_factor`. Its converter
    drops `mscale`, and writes `attention_factor` to a key that llama.cpp does not read in these architectures; beta
    likewise, so other values than its own are refused here.
    """
    for key, fixed in _YARN_FIXED.items():
        keys.refuse_other(architecture, key, rope.get(key), (fixed,))
    prefix = f"{architecture}.rope.scaling"
    entries = {f"{prefix}.original_context_length": u32(count(rope, "original_max_position_embeddings"))}
    relative = _magnitude(rope, factor) / _stretched(factor, 1.0)
    if relative != 1:
        entries[f"{prefix}.attn_factor"] = f32(relative)
    return entries


def _longrope(architecture: str, rope: Config, context: int) -> dict[str, Value]:
    """What LongRoPE needs besides its tensors ("LongRoPE", arXiv 2402.13753, and Phi-3's code)."""
    prefix, original = f"{architecture}.rope.scaling", count(rope, "original_max_position_embeddings")
    stretch = number(rope, "factor") if rope.get("factor") is not None else context / original
    magnitude = 1.0
    if rope.get("attention_factor") is not None:
        magnitude = number(rope, "attention_factor")
    elif stretch > 1 and original > 1:
        magnitude = math.sqrt(1 + math.log(stretch) / math.log(original))
    return {
        f"{prefix}.type": text("longrope"),
        f"{prefix}.original_context_length": u32(original),
        f"{prefix}.attn_factor": f32(magnitude),
    }


def long_factors(config: Config, columns: int) -> dict[str, np.ndarray]:
    """What LongRoPE divides rotary frequencies by, by the name of the tensor: (columns / 2,) f32.

    Nothing where the rope is of another type. InputError unless there are as many factors as pairs of columns.
    """
    rope = parameters(config)
    if rope["rope_type"] != "longrope":
        return {}
    factors = {}
    for kind in ("long", "short"):
        key, values = f"{kind}_factor", rope.get(f"{kind}_factor")
        if not isinstance(values, list) or len(values) != columns // 2:
            length = f"has length {len(values)}" if isinstance(values, list) else f"is {spelled(values)}"
            raise InputError(f"config.json: key '{key}' {length}, not one number for each of {columns // 2} pairs")
        factors[f"rope_factors_{kind}.weight"] = np.array(
            [_positive({key: value}, key) for value in values], np.float32
        )
    return factors


def _magnitude(rope: Config, factor: float) -> float:
    """What transformers multiplies cosines and sines by (`_compute_yarn_parameters`); attn_factor of the first code."""
    further = 1.0 if rope.get("attn_factor") is None else number(rope, "attn_factor")
    if rope.get("attention_factor") is not None:
        return number(rope, "attention_factor")
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        some, all_ = number(rope, "mscale"), number(rope, "mscale_all_dim")
        return further * _stretched(factor, some) / _stretched(factor, all_)
    return further * _stretched(factor, 1.0)


def _stretched(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0


def frequency_factors(rope: Config, head_dim: int) -> np.ndarray | None:
    """What Llama 3 divides each rotary frequency by, (head_dim / 2,) f32; None when the rope is not of that type.

    Long waves are slowed by `factor`, short ones kept, and those between blended (transformers'
    `_compute_llama3_parameters`). Every step is rounded to float32, and a quotient is a product with a rounded
    reciprocal, as torch computes them: the reference's bytes come of no other order.
    """
    if str(rope["rope_type"]).lower() != "llama3":
        return None
    one = np.float32(1)
    defaults = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    stretch = {**defaults, **rope}
    factor, low, high = (_positive(stretch, key) for key in defaults)
    context = count(stretch, "original_max_position_embeddings")
    if low >= high:
        raise InputError(f"config.json: key 'low_freq_factor' is {low}, not below 'high_freq_factor', which is {high}")
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # In double and rounded once: a float32 power is the last bit's guess of whichever library computes it.
    base = np.float32(_positive(rope, "rope_theta"))
    powers = np.power(base.astype(np.float64), exponents.astype(np.float64)).astype(np.float32)
    frequencies = one / powers
    factors = []
    for wavelength in one / frequencies * np.float32(2 * math.pi):
        if wavelength < np.float32(context / high):
            factors.append(one)
        elif wavelength > np.float32(context / low):
            factors.append(np.float32(factor))
        else:
            smooth = (one / wavelength * np.float32(context) - np.float32(low)) / np.float32(high - low)
            factors.append(one / ((one - smooth) / np.float32(factor) + smooth))
    return np.array(factors, np.float32)
