"""StarCoder 2: layer norms and biases everywhere, and a feed-forward without a gate."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder, keys, windows
from quantize_cli.families.decoder.config import Config
from quantize_cli.families.decoder.slots import Slot, biases
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "starcoder2"
CLASS = "Starcoder2"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "sliding_window": None,
    "use_bias": True,
}
"""What transformers' Starcoder2Config fills in."""
FIXED = {"hidden_act": keys.TANH_GELU, "use_bias": (True,)}

PREFIX = decoder.PREFIX
_FEED_FORWARD = {
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.mlp.c_fc.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "layers.{}.mlp.c_proj.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
}
_WEIGHTS = {**decoder.ATTENTION, **_FEED_FORWARD, "norm.weight": decoder.EMBEDDING["norm.weight"]}
SLOTS = {**decoder.EMBEDDING, **_WEIGHTS, **biases(_WEIGHTS)}
tensors = partial(decoder.tensors, SLOTS)
_IDLE = {"residual_dropout", "use_sliding_window", "max_window_layers", "norm_type"}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **decoder.positions(ARCHITECTURE, config),
        **decoder.epsilon(ARCHITECTURE, config, "norm_epsilon"),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return (
        *decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *_IDLE}, FIXED),
        *windows.left_out(ARCHITECTURE, config),
    )
