"""Cohere's Command R7B and A: three layers of four attend to a window, and only those rotate."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder, rope, windows
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.decoder.slots import HEAD
from quantize_cli.formats.gguf.layout import Value, f32, text, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "cohere2"
CLASS = "Cohere2"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 8192,
    "partial_rotary_factor": 1.0,
    "layer_norm_eps": 1e-5,
    "logit_scale": 0.0625,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
"""What transformers' Cohere2Config fills in."""
ALIASES = {"rotary_pct": "partial_rotary_factor"}
FIXED = {
    "tie_word_embeddings": (True,),
    "attention_bias": (False,),
    "position_embedding_type": ("rope_gptj",),
    "order_of_interleaved_layers": ("local_attn_first",),
    "use_embedding_sharing": (True,),
    "use_gated_activation": (True,),
    "use_parallel_block": (True,),
    "use_parallel_embedding": (False,),
}
"""Keys of the model's first code, which has one way only."""
_PERIOD = 4

PREFIX = decoder.PREFIX
_PLAIN = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD}
SLOTS = {name: slot for name, slot in _PLAIN.items() if name != HEAD and ".post_attention_layernorm." not in name}
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    share = count(config, "hidden_size") // count(config, "num_attention_heads")
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **decoder.positions(ARCHITECTURE, config, partly=True),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
        **decoder.head_widths(ARCHITECTURE, config),
        **windows.metadata(ARCHITECTURE, config, _PERIOD),
        "cohere2.logit_scale": f32(number(config, "logit_scale")),
        "cohere2.vocab_size": u32(count(config, "vocab_size")),
        "cohere2.rope.dimension_count": u32(rope.rotated(config, share)),
        "cohere2.rope.scaling.type": text("none"),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *windows.KEYS, "layer_switch"}, FIXED)
