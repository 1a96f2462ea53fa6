"""GLM 4 (0414): norms around attention and feed-forward, gate and up in one matrix, half of a head rotated."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, rope
from quantize_cli.families.decoder.config import Config, switch
from quantize_cli.families.decoder.slots import Slot, optional
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "glm4"
CLASS = "Glm4"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1.5625e-07,
    "attention_bias": True,
    "tie_word_embeddings": False,
}
"""What transformers' Glm4Config fills in."""
_ROLES = {"eos": "<|endoftext|>", "eot": "<|user|>", "unknown": "<|endoftext|>", "bos": "<|endoftext|>"}

PREFIX = decoder.PREFIX
_UNBIASED = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    "layers.{}.post_self_attn_layernorm.weight": Slot("blk.{}.post_attention_norm.weight", ("hidden",)),
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.mlp.gate_up_proj.weight": Slot("blk.{}.ffn_up.weight", ("gate_and_up", "hidden")),
    "layers.{}.mlp.down_proj.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "layers.{}.post_mlp_layernorm.weight": Slot("blk.{}.post_ffw_norm.weight", ("hidden",)),
}
SLOTS = {**_UNBIASED, **optional(decoder.ATTENTION_BIASES)}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **decoder.positions(ARCHITECTURE, config, partly=True),
        **decoder.epsilon(ARCHITECTURE, config, "rms_norm_eps"),
        **decoder.head_widths(ARCHITECTURE, config),
        "glm4.rope.dimension_count": u32(rope.rotated(config, decoder.head_dim(config))),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    biases = decoder.ATTENTION_BIASES if switch(config, "attention_bias") else optional(decoder.ATTENTION_BIASES)
    return decoder.tensors({**_UNBIASED, **biases}, config, stored)


def tokenizer_metadata(checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    """The roles of special tokens as the model was trained, which its files do not state."""
    added = (checkpoint.json("tokenizer.json") or {}).get("added_tokens")
    tokens = [token for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    ids = {str(token.get("content")): token["id"] for token in tokens if type(token.get("id")) is int}
    return {f"tokenizer.ggml.{role}_token_id": u32(ids[name]) for role, name in _ROLES.items() if name in ids}


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, {})
