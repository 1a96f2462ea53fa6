"""BLOOM: scores biased by distance (ALiBi), biases everywhere, and a norm behind the embedding."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, biases
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "bloom"
CLASS = "Bloom"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 250880,
    "hidden_size": 64,
    "intermediate_size": None,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": None,
    "layer_norm_epsilon": 1e-5,
    "seq_length": None,
    "tie_word_embeddings": True,
}
"""What transformers' BloomConfig fills in."""
ALIASES = {
    "n_embed": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "n_inner": "intermediate_size",
}
FIXED = {"apply_residual_connection_post_layernorm": (False,)}
_IDLE = {
    "slow_but_exact", "masked_softmax_fusion", "bias_dropout_fusion", "offset_alibi", "skip_bias_add",
    "skip_bias_add_qkv", "attention_softmax_in_fp32",
}  # fmt: skip

_NAMES = decoder.Names("transformer.", "word_embeddings.weight")
PREFIX = _NAMES.prefix
_WEIGHTS = {
    "word_embeddings_layernorm.weight": Slot("token_embd_norm.weight", ("hidden",)),
    "h.{}.input_layernorm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "h.{}.self_attention.query_key_value.weight": Slot(
        "blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden"), fused_groups="key_heads"
    ),
    "h.{}.self_attention.dense.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "h.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "h.{}.mlp.dense_h_to_4h.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "h.{}.mlp.dense_4h_to_h.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "ln_f.weight": Slot("output_norm.weight", ("hidden",)),
}
SLOTS = {
    "word_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    HEAD: Slot("output.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    **_WEIGHTS,
    **biases(_WEIGHTS),
}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, _complete(config)),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_epsilon"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.tensors(SLOTS, _complete(config), stored, _NAMES)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    converted = {*DEFAULTS, *_IDLE, "max_position_embeddings"}
    return decoder.remarks(ARCHITECTURE, _complete(config), placed, converted, FIXED)


def _complete(config: Config) -> Config:
    """The config with a context: distances know no end, so the converter takes the width where none is stated."""
    stated = config["seq_length"] is not None
    return {**config, "max_position_embeddings": count(config, "seq_length" if stated else "hidden_size")}
