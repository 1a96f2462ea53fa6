"""Qwen 3 with experts: the shares of those chosen add up to one, and queries and keys are normalised per head."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, experts
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "qwen3moe"
CLASS = "Qwen3Moe"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_local_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "norm_topk_prob": False,
}
"""What transformers' Qwen3MoeConfig fills in; a missing `head_dim` is an equal share of the hidden size."""
ALIASES = {"num_experts": "num_local_experts"}
FIXED = {
    "norm_topk_prob": (True,),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": (),
    "attention_bias": (False,),
}

PREFIX = decoder.PREFIX
SLOTS = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **decoder.HEAD_NORMS,
    **decoder.FEED_FORWARD_NORM,
    **experts.QWEN.slots(),
}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, config),
        **experts.metadata(ARCHITECTURE, config),
        "qwen3moe.expert_feed_forward_length": u32(count(config, "moe_intermediate_size")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    sizes = experts.sizes_of(config, "moe_intermediate_size")
    whole = experts.gathered(experts.QWEN, stored, {**decoder.sizes_of(config), **sizes}, PREFIX)
    return decoder.tensors(SLOTS, config, whole, sizes=sizes)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    decoder.refuse_windows(ARCHITECTURE, config)
    converted = {*DEFAULTS, *decoder.WINDOW_KEYS, "head_dim"}
    return decoder.remarks(ARCHITECTURE, config, placed, converted, FIXED)
