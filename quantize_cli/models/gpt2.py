"""GPT-2: learned positions, one matrix for queries, keys and values, and weights stored as (inputs, outputs)."""

from collections.abc import Sequence
from typing import Any

from formats.gguf.layout import Value, f32, u32
from quantize_cli.models._config import Config, count, number
from quantize_cli.models._slots import Slot, place
from quantize_cli.tensor import Tensor

ARCHITECTURE = "gpt2"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "layer_norm_epsilon": 1e-5,
}
"""What transformers' GPT2Config fills in. It always ties the output to the embedding unless told otherwise."""

_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
_SLOTS = {
    "wte.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "wpe.weight": Slot("position_embd.weight", ("context", "hidden")),
    "h.{}.ln_1.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "h.{}.ln_1.bias": Slot("blk.{}.attn_norm.bias", ("hidden",)),
    "h.{}.attn.c_attn.weight": Slot("blk.{}.attn_qkv.weight", ("hidden", "queries_keys_values"), transposed=True),
    "h.{}.attn.c_attn.bias": Slot("blk.{}.attn_qkv.bias", ("queries_keys_values",)),
    "h.{}.attn.c_proj.weight": Slot("blk.{}.attn_output.weight", ("hidden", "hidden"), transposed=True),
    "h.{}.attn.c_proj.bias": Slot("blk.{}.attn_output.bias", ("hidden",)),
    "h.{}.ln_2.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "h.{}.ln_2.bias": Slot("blk.{}.ffn_norm.bias", ("hidden",)),
    "h.{}.mlp.c_fc.weight": Slot("blk.{}.ffn_up.weight", ("hidden", "feed_forward"), transposed=True),
    "h.{}.mlp.c_fc.bias": Slot("blk.{}.ffn_up.bias", ("feed_forward",)),
    "h.{}.mlp.c_proj.weight": Slot("blk.{}.ffn_down.weight", ("feed_forward", "hidden"), transposed=True),
    "h.{}.mlp.c_proj.bias": Slot("blk.{}.ffn_down.bias", ("hidden",)),
    "ln_f.weight": Slot("output_norm.weight", ("hidden",)),
    "ln_f.bias": Slot("output_norm.bias", ("hidden",)),
    "lm_head.weight": Slot("output.weight", ("vocabulary", "hidden"), optional=True),
}


def metadata(config: Config) -> dict[str, Value]:
    sizes = _sizes(config)
    return {
        "gpt2.block_count": u32(sizes["layers"]),
        "gpt2.context_length": u32(sizes["context"]),
        "gpt2.embedding_length": u32(sizes["hidden"]),
        "gpt2.feed_forward_length": u32(sizes["feed_forward"]),
        "gpt2.attention.head_count": u32(sizes["heads"]),
        "gpt2.attention.layer_norm_epsilon": f32(number(_complete(config), "layer_norm_epsilon")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return place(_SLOTS, _sizes(config), stored, prefix="transformer.")


def _complete(config: Config) -> dict[str, Any]:
    named = {_ALIASES.get(key, key): value for key, value in config.items()}
    return {**DEFAULTS, **named}


def _sizes(config: Config) -> dict[str, int]:
    complete = _complete(config)
    hidden = count(complete, "n_embd")
    return {
        "layers": count(complete, "n_layer"),
        "vocabulary": count(complete, "vocab_size"),
        # Old configs state the context a second time, and llama.cpp's converter believes only that.
        "context": count(complete, "n_ctx" if "n_ctx" in complete else "n_positions"),
        "hidden": hidden,
        "queries_keys_values": 3 * hidden,
        "feed_forward": 4 * hidden if complete["n_inner"] is None else count(complete, "n_inner"),
        "heads": count(complete, "n_head"),
    }
