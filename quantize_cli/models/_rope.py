"""Rotary position parameters: the spellings of config.json, GGUF keys, and Llama 3's frequency factors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from formats.gguf.layout import Value, f32, text, u32
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.models._config import Config, count, number

_DEFAULT_BASE = 10000.0
_STRETCHED = ("llama3", "yarn", "longrope")
"""Types that need the context length of before they were stretched."""
_YARN_KEYS = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def parameters(config: Config) -> dict[str, Any]:
    """One spelling of both: `rope_parameters` (new), and `rope_theta` beside `rope_scaling` (old), completed."""
    stated = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if isinstance(stated, Mapping):
        stated = stated.get("full_attention", stated)
    if not isinstance(stated, Mapping):
        raise InputError(f"config.json: the rotary parameters are {quoted(str(stated))}, not an object")
    base = config.get("rope_theta")
    found = {"rope_theta": _DEFAULT_BASE if base is None else base, **stated}
    found["rope_type"] = stated.get("rope_type", stated.get("type", "default"))
    if found["rope_type"] in _STRETCHED:
        original = config.get("original_max_position_embeddings")
        found.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
        if original is not None:
            found["original_max_position_embeddings"] = original
    return found


def metadata(architecture: str, rope: Config) -> dict[str, Value]:
    """The `<architecture>.rope.*` keys; InputError for a scaling that no key or tensor of ours can express."""
    prefix = f"{architecture}.rope"
    found = {f"{prefix}.freq_base": f32(number(rope, "rope_theta"))}
    kind = rope["rope_type"]
    if kind not in ("default", "linear", "dynamic", "yarn", "llama3"):
        raise InputError(f"config.json: rope type {quoted(str(kind))} is not supported for '{architecture}'")
    if kind in ("linear", "yarn") and rope.get("factor") is not None:
        found[f"{prefix}.scaling.type"] = text(kind)
        found[f"{prefix}.scaling.factor"] = f32(number(rope, "factor"))
        if kind == "yarn":
            found.update(_yarn(prefix, rope))
    return found


def _yarn(prefix: str, rope: Config) -> dict[str, Value]:
    found = {f"{prefix}.scaling.original_context_length": u32(count(rope, "original_max_position_embeddings"))}
    named = {"attention_factor": rope.get("attn_factor"), **rope}
    for key, written in _YARN_KEYS.items():
        if named.get(key) is not None:
            found[f"{prefix}.scaling.{written}"] = f32(number(named, key))
    return found


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
    factor, low, high = (number(stretch, key) for key in defaults)
    context = count(stretch, "original_max_position_embeddings")
    if not (factor and low and high):
        raise InputError(f"config.json: llama3 rope factors are {factor}, {low} and {high}, and none may be 0")
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # In double and rounded once: a float32 power is the last bit's guess of whichever library computes it.
    base = np.float32(number(rope, "rope_theta"))
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
