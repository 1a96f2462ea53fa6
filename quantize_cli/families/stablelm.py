"""StableLM: layer norms, part of a head rotated, and attention and feed-forward side by side if so configured."""

import re
from collections.abc import Sequence

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder, rope
from quantize_cli.families.decoder.config import Config, count, switch
from quantize_cli.families.decoder.slots import Slot, biases, optional
from quantize_cli.formats.gguf.layout import Value, flag, u32
from quantize_cli.model.tensor import Tensor, from_array

ARCHITECTURE = "stablelm"
CLASS = "StableLm"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "partial_rotary_factor": 0.25,
    "layer_norm_eps": 1e-5,
    "qk_layernorm": False,
    "use_qkv_bias": False,
    "use_parallel_residual": False,
    "tie_word_embeddings": False,
}
"""What transformers' StableLmConfig fills in."""
_OF_A_HEAD = re.compile(r"(.*\.[qk]_layernorm)\.norms\.([0-9]{1,4})\.weight")
ALIASES = {"rope_pct": "partial_rotary_factor", "norm_eps": "layer_norm_eps"}

PREFIX = decoder.PREFIX
_FEED_FORWARD_NORM = {
    name: slot
    for name, slot in {**decoder.FEED_FORWARD, **biases(decoder.FEED_FORWARD)}.items()
    if ".post_attention_layernorm." in name
}
_NORM_BIASES = {
    name: slot
    for name, slot in biases({**decoder.EMBEDDING, **decoder.ATTENTION}).items()
    if name in ("norm.bias", "layers.{}.input_layernorm.bias")
}
_EVERYWHERE = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **_NORM_BIASES,
    **{name: slot for name, slot in decoder.FEED_FORWARD.items() if name not in _FEED_FORWARD_NORM},
}
_HEAD_NORMS = {
    "layers.{}.self_attn.q_layernorm.weight": Slot("blk.{}.attn_q_norm.weight", ("heads", "head")),
    "layers.{}.self_attn.k_layernorm.weight": Slot("blk.{}.attn_k_norm.weight", ("key_heads", "head")),
}
SLOTS = {**_EVERYWHERE, **optional({**decoder.ATTENTION_BIASES, **_FEED_FORWARD_NORM})}
"""All there may be."""


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config, partly=True)),
        "stablelm.rope.dimension_count": u32(rope.rotated(config, decoder.head_dim(config))),
        "stablelm.use_parallel_residual": flag(switch(config, "use_parallel_residual")),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    stored, slots = _gathered(config, stored), dict(_EVERYWHERE)
    if switch(config, "qk_layernorm"):
        slots |= _HEAD_NORMS
    if switch(config, "use_qkv_bias"):
        slots |= decoder.ATTENTION_BIASES
    if not switch(config, "use_parallel_residual"):
        slots |= _FEED_FORWARD_NORM
    return decoder.with_output(decoder.tensors(slots, config, stored))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, {})


def _gathered(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """The stored tensors, with the norms of a layer's heads, each a tensor of its own, as one matrix.

    InputError for a head that is missing or more than there are.
    """
    rows: dict[str, dict[int, Tensor]] = {}
    others = []
    for tensor in stored:
        if match := _OF_A_HEAD.fullmatch(tensor.name):
            rows.setdefault(f"{match[1]}.weight", {})[int(match[2])] = tensor
        else:
            others.append(tensor)
    for name, heads in rows.items():
        count_key = "num_attention_heads" if name.endswith("q_layernorm.weight") else "num_key_value_heads"
        number = count(config, count_key)
        if sorted(heads) != list(range(number)):
            raise InputError(f"{heads[min(heads)].origin} and its like are of {len(heads)} heads, not of all {number}")
        values = [np.asarray(heads[head].read(0, 1)).astype(np.float32) for head in range(number)]
        others.append(from_array(name, np.concatenate(values)))
    return others
