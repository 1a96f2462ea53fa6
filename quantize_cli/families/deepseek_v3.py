"""DeepSeek V3 and R1: experts are scored by a sigmoid, and chosen by groups with a correction."""

from collections.abc import Sequence

from quantize_cli.families.decoder import deepseek2 as architecture
from quantize_cli.families.decoder.config import Config
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "DeepseekV3"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_local_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
}
"""What transformers' DeepseekV3Config fills in, and what its code fixes."""
ALIASES = {"n_routed_experts": "num_local_experts"}
FIXED = {"scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",), "rope_interleave": (True,)}

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata, tensors = architecture.metadata, architecture.tensors


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return architecture.remarks(config, placed, DEFAULTS, FIXED)
