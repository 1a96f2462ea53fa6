"""GPT-NeoX and Pythia: part of a head rotated, attention and feed-forward side by side if so configured."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, keys, rope
from quantize_cli.families.decoder.config import Config, switch
from quantize_cli.families.decoder.slots import Slot, biases
from quantize_cli.formats.gguf.layout import Value, flag, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gptneox"
CLASS = "GPTNeoX"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "partial_rotary_factor": 0.25,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "use_parallel_residual": True,
    "attention_bias": True,
    "tie_word_embeddings": False,
}
"""What transformers' GPTNeoXConfig fills in."""
ALIASES = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
FIXED = {"attention_bias": (True,)}
HEAD = "embed_out.weight"

_NAMES = decoder.Names("gpt_neox.", "embed_in.weight", HEAD)
PREFIX = _NAMES.prefix
_WEIGHTS = {
    "layers.{}.input_layernorm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "layers.{}.attention.query_key_value.weight": Slot(
        "blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden"), fused_groups="key_heads"
    ),
    "layers.{}.attention.dense.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.mlp.dense_h_to_4h.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "layers.{}.mlp.dense_4h_to_h.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "final_layer_norm.weight": Slot("output_norm.weight", ("hidden",)),
}
SLOTS = {
    "embed_in.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    HEAD: Slot("output.weight", ("vocabulary", "hidden")),
    **_WEIGHTS,
    **biases(_WEIGHTS),
}


def metadata(config: Config) -> dict[str, Value]:
    sizes = decoder.dimensions(ARCHITECTURE, config)
    del sizes["gptneox.attention.head_count_kv"]
    return {
        **sizes,
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config, partly=True)),
        "gptneox.rope.dimension_count": u32(rope.rotated(config, decoder.head_dim(config))),
        "gptneox.use_parallel_residual": flag(switch(config, "use_parallel_residual")),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.with_output(decoder.tensors(SLOTS, config, stored, _NAMES))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    approximated = keys.approximated_gelu(config, "hidden_act")
    fixed = {**FIXED, "hidden_act": (*keys.TANH_GELU, keys.EXACT_GELU)}
    return *decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, fixed), *approximated
