"""llama.cpp's `olmo2`: norms behind attention and feed-forward, not before them, and over all queries and all keys."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "olmo2"
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
"""What transformers' Olmo2Config fills in."""
FIXED = {"attention_bias": (False,)}

PREFIX = decoder.PREFIX
_PLAIN = {**decoder.ATTENTION, **decoder.FEED_FORWARD}
SLOTS = {
    **decoder.EMBEDDING,
    **{name: slot for name, slot in _PLAIN.items() if not name.endswith("layernorm.weight")},
    "layers.{}.self_attn.q_norm.weight": Slot("blk.{}.attn_q_norm.weight", ("queries",)),
    "layers.{}.self_attn.k_norm.weight": Slot("blk.{}.attn_k_norm.weight", ("keys",)),
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.post_attention_norm.weight", ("hidden",)),
    "layers.{}.post_feedforward_layernorm.weight": Slot("blk.{}.post_ffw_norm.weight", ("hidden",)),
}
metadata = partial(decoder.metadata, ARCHITECTURE)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.with_output(decoder.tensors(SLOTS, config, stored))
