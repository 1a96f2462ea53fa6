"""DeepSeek V2, V2.5 and Coder V2: experts are scored by a softmax."""

from collections.abc import Sequence

from quantize_cli.families.decoder import deepseek2 as architecture
from quantize_cli.families.decoder.config import Config
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "DeepseekV2"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 102400,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_local_experts": 64,
    "num_experts_per_tok": None,
    "moe_intermediate_size": 1407,
    "n_shared_experts": 2,
    "first_k_dense_replace": 0,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_group": None,
    "topk_group": None,
    "topk_method": "greedy",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
}
"""What transformers' DeepseekV2Config fills in, and what its code fixes."""
ALIASES = {"n_routed_experts": "num_local_experts"}
FIXED = {"scoring_func": ("softmax",), "topk_method": ("greedy", "group_limited_greedy")}

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata, tensors = architecture.metadata, architecture.tensors


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return architecture.remarks(config, placed, DEFAULTS, FIXED)
