"""Phi 3, 3.5 and 4: queries, keys and values are one matrix, gate and up another, and LongRoPE has a key of its own."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, rope, windows
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor, from_array

ARCHITECTURE = "phi3"
CLASS = "Phi3"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 1.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "sliding_window": None,
}
"""What transformers' Phi3Config fills in."""

PREFIX = decoder.PREFIX
_FUSED = {
    "layers.{}.self_attn.qkv_proj.weight": Slot("blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden")),
    "layers.{}.mlp.gate_up_proj.weight": Slot("blk.{}.ffn_up.weight", ("gate_and_up", "hidden")),
}
_KEPT = ("input_layernorm", "o_proj", "post_attention_layernorm", "down_proj")
SLOTS = {
    **decoder.EMBEDDING,
    **{
        name: slot
        for name, slot in {**decoder.ATTENTION, **decoder.FEED_FORWARD}.items()
        if any(f".{part}." in name for part in _KEPT)
    },
    **_FUSED,
}


def metadata(config: Config) -> dict[str, Value]:
    turning = decoder.positions(ARCHITECTURE, config, partly=True)
    if rope.parameters(config)["rope_type"] == "longrope":
        # llama.cpp knows it by its tensors here.
        del turning["phi3.rope.scaling.type"]
    window = config["sliding_window"]
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        "phi3.rope.scaling.original_context_length": u32(count(config, "original_max_position_embeddings")),
        **turning,
        **decoder.epsilon(ARCHITECTURE, config, "rms_norm_eps"),
        "phi3.rope.dimension_count": u32(_rotated(config)),
        "phi3.attention.sliding_window": u32(0 if window is None else count(config, "sliding_window")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    factors = rope.long_factors(config, _rotated(config))
    return [*(from_array(name, values) for name, values in factors.items()), *decoder.tensors(SLOTS, config, stored)]


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return (
        *decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, {}),
        *windows.left_out(ARCHITECTURE, config),
    )


def _rotated(config: Config) -> int:
    return rope.rotated(config, count(config, "hidden_size")) // count(config, "num_attention_heads")
