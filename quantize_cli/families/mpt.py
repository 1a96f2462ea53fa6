"""MPT: no positions but a bias of scores by distance (ALiBi), and layer norms, most often without biases."""

from collections.abc import Mapping, Sequence

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder, keys
from quantize_cli.families.decoder.config import Config, count, number, spelled
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, biases, optional
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "mpt"
CLASS = "Mpt"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50368,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 2048,
    "expansion_ratio": 4,
    "attn_config": {},
    "tie_word_embeddings": True,
}
"""What transformers' MptConfig fills in."""
ALIASES = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "max_seq_len": "max_position_embeddings",
}
FIXED = {
    "embedding_fraction": (1.0,), "norm_type": ("low_precision_layernorm",), "logit_scale": (),
    "attn_type": ("multihead_attention", "multiquery_attention", "grouped_query_attention"), "alibi": (True,),
    "prefix_lm": (False,), "qk_ln": (False,), "softmax_scale": (), "attn_uses_sequence_id": (False,),
}  # fmt: skip
_EPSILON, _LARGEST_BIAS = 1e-5, 8.0
_IDLE = {
    "learned_pos_emb", "no_bias", "layer_norm_epsilon", "attn_impl", "emb_pdrop", "init_device", "init_config",
    "verbose", "ffn_config", "fc_type", "use_pad_tok_in_ffn", "clip_qkv", "kv_n_heads", "alibi_bias_max",
}  # fmt: skip
"""`layer_norm_epsilon` too: neither transformers nor llama.cpp's converter heeds it."""

_NAMES = decoder.Names("transformer.", "wte.weight")
PREFIX = _NAMES.prefix
_WEIGHTS = {
    "blocks.{}.norm_1.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "blocks.{}.attn.Wqkv.weight": Slot("blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden")),
    "blocks.{}.attn.out_proj.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "blocks.{}.norm_2.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "blocks.{}.ffn.up_proj.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "blocks.{}.ffn.down_proj.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "norm_f.weight": Slot("output_norm.weight", ("hidden",)),
}
SLOTS = {
    "wte.weight": Slot("token_embd.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    HEAD: Slot("output.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    **_WEIGHTS,
    **optional(biases(_WEIGHTS)),
}


def metadata(config: Config) -> dict[str, Value]:
    attention = _attention(config)
    sizes = decoder.dimensions(ARCHITECTURE, _complete(config))
    if not attention.get("kv_n_heads"):
        del sizes["mpt.attention.head_count_kv"]
    clip, bias = attention.get("clip_qkv"), attention.get("alibi_bias_max")
    return {
        **sizes,
        "mpt.attention.layer_norm_epsilon": f32(_EPSILON),
        **({} if clip is None else {"mpt.attention.clamp_kqv": f32(number(attention, "clip_qkv"))}),
        "mpt.attention.max_alibi_bias": f32(_LARGEST_BIAS if bias is None else number(attention, "alibi_bias_max")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.tensors(SLOTS, _complete(config), stored, _NAMES)


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    both = {**_attention(config), **config}
    return keys.check(both, ARCHITECTURE, {*DEFAULTS, *_IDLE}, FIXED)


def _attention(config: Config) -> Config:
    attention = config["attn_config"]
    if not isinstance(attention, Mapping):
        raise InputError(f"config.json: key 'attn_config' is {spelled(attention)}, not an object")
    return attention


def _complete(config: Config) -> Config:
    """The config with the sizes that follow from others."""
    attention, heads = _attention(config), count(config, "num_attention_heads")
    return {
        **config,
        "num_key_value_heads": count(attention, "kv_n_heads") if attention.get("kv_n_heads") else heads,
        "intermediate_size": int(number(config, "expansion_ratio") * count(config, "hidden_size")),
    }
