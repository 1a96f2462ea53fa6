"""GPT-2: learned positions, one matrix for queries, keys and values, and weights stored as (inputs, outputs)."""

from collections.abc import Sequence
from dataclasses import replace

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import keys
from quantize_cli.families.decoder.config import Config, architecture_class, count, number, switch
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, place, with_embedding
from quantize_cli.formats.gguf.layout import Value, f32, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gpt2"
CLASS = "GPT2"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
"""What transformers' GPT2Config fills in. It always ties the output to the embedding unless told otherwise."""
FIXED = {
    "activation_function": (*keys.TANH_GELU, keys.EXACT_GELU),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}
"""Attention is scaled alike in every layer, and the activation is GELU by its tanh formula."""

ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
PREFIX = "transformer."
SLOTS = {
    "wte.weight": Slot("token_embd.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
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
    HEAD: Slot("output.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
}


def metadata(config: Config) -> dict[str, Value]:
    sizes = _sizes(config)
    return {
        "gpt2.block_count": u32(sizes["layers"]),
        "gpt2.context_length": u32(sizes["context"]),
        "gpt2.embedding_length": u32(sizes["hidden"]),
        "gpt2.feed_forward_length": u32(sizes["feed_forward"]),
        "gpt2.attention.head_count": u32(sizes["heads"]),
        "gpt2.attention.layer_norm_epsilon": f32(number(config, "layer_norm_epsilon")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    tied = switch(config, "tie_word_embeddings")
    head = replace(SLOTS[HEAD], optional=tied or not architecture_class(config).endswith("LMHeadModel"))
    whole = with_embedding(stored, "wte.weight", tied, prefix=PREFIX)
    return place({**SLOTS, HEAD: head}, _sizes(config), whole, prefix=PREFIX)


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    if count(config, "n_embd") % count(config, "n_head"):
        raise InputError(f"config.json: {config['n_head']} heads do not share {config['n_embd']} columns evenly")
    unknown = keys.check(config, ARCHITECTURE, {*DEFAULTS, "n_ctx"}, FIXED)
    return *unknown, *keys.approximated_gelu(config, "activation_function")


def _sizes(config: Config) -> dict[str, int]:
    hidden = count(config, "n_embd")
    return {
        "layers": count(config, "n_layer"),
        "vocabulary": count(config, "vocab_size"),
        # Old configs state the context a second time, and llama.cpp's converter believes only that.
        "context": count(config, "n_ctx" if "n_ctx" in config else "n_positions"),
        "hidden": hidden,
        "queries_keys_values": 3 * hidden,
        "feed_forward": 4 * hidden if config["n_inner"] is None else count(config, "n_inner"),
        "heads": count(config, "n_head"),
    }
