"""Falcon: grouped queries, keys and values in one matrix, and attention and feed-forward side by side."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, keys, rope
from quantize_cli.families.decoder.config import Config, count, number, switch
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, biases
from quantize_cli.formats.gguf.layout import Value, text
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "falcon"
CLASS = "Falcon"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "intermediate_size": None,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "num_kv_heads": None,
    "num_ln_in_parallel_attn": None,
    "max_position_embeddings": 2048,
    "layer_norm_epsilon": 1e-5,
    "activation": "gelu",
    "multi_query": True,
    "new_decoder_architecture": False,
    "tie_word_embeddings": True,
}
"""What transformers' FalconConfig fills in."""
ALIASES = {
    "ffn_hidden_size": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_head_kv": "num_kv_heads",
}
FIXED = {
    "activation": (*keys.TANH_GELU, keys.EXACT_GELU),
    "alibi": (False,),
    "bias": (False,),
    "parallel_attn": (True,),
}

_NAMES = decoder.Names("transformer.", "word_embeddings.weight")
PREFIX = _NAMES.prefix
_NORM = {"h.{}.input_layernorm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",))}
_TWO_NORMS = {
    "h.{}.ln_mlp.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "h.{}.ln_attn.weight": Slot("blk.{}.attn_norm_2.weight", ("hidden",)),
}
_OUTPUT_NORM = {"ln_f.weight": Slot("output_norm.weight", ("hidden",))}
_EVERYWHERE = {
    "word_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    HEAD: Slot("output.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    "h.{}.self_attention.query_key_value.weight": Slot(
        "blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden"), fused_groups="key_heads"
    ),
    "h.{}.self_attention.dense.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "h.{}.mlp.dense_h_to_4h.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "h.{}.mlp.dense_4h_to_h.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    **_OUTPUT_NORM,
    **biases(_OUTPUT_NORM),
}
SLOTS = {**_EVERYWHERE, **_NORM, **_TWO_NORMS}
"""All there may be, but for biases of norms."""


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, _grouped(config)),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config)),
        "falcon.tensor_data_layout": text("jploski"),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_epsilon"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    norms = _TWO_NORMS if _has_two_norms(config) else _NORM
    return decoder.tensors({**_EVERYWHERE, **norms, **biases(norms)}, _grouped(config), stored, _NAMES)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return (
        *decoder.remarks(ARCHITECTURE, _grouped(config), placed, {*DEFAULTS, "num_key_value_heads"}, FIXED),
        *keys.approximated_gelu(config, "activation"),
    )


def _grouped(config: Config) -> Config:
    """The config with the number of key-value heads as transformers understands it."""
    heads = count(config, "num_attention_heads")
    if switch(config, "multi_query") and not switch(config, "new_decoder_architecture"):
        return {**config, "num_key_value_heads": 1}
    stated = config["num_kv_heads"] is not None
    return {**config, "num_key_value_heads": count(config, "num_kv_heads") if stated else heads}


def _has_two_norms(config: Config) -> bool:
    stated = config["num_ln_in_parallel_attn"]
    return switch(config, "new_decoder_architecture") and (
        stated is None or number(config, "num_ln_in_parallel_attn") == 2
    )
