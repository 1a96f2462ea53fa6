"""OLMoE: many small experts, and queries and keys normalised over all heads at once."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, experts
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "olmoe"
CLASS = "Olmoe"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2048,
    "intermediate_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": None,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "num_local_experts": 64,
    "num_experts_per_tok": 8,
    "norm_topk_prob": False,
}
"""What transformers' OlmoeConfig fills in; it knows no `head_dim`."""
ALIASES = {"num_experts": "num_local_experts"}
FIXED = {"norm_topk_prob": (False,), "attention_bias": (False,)}

PREFIX = decoder.PREFIX
SLOTS = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    "layers.{}.self_attn.q_norm.weight": Slot("blk.{}.attn_q_norm.weight", ("queries",)),
    "layers.{}.self_attn.k_norm.weight": Slot("blk.{}.attn_k_norm.weight", ("keys",)),
    **decoder.FEED_FORWARD_NORM,
    **experts.QWEN.slots(),
}


def metadata(config: Config) -> dict[str, Value]:
    return {**decoder.metadata(ARCHITECTURE, config), **experts.metadata(ARCHITECTURE, config)}


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    sizes = experts.sizes_of(config, "intermediate_size")
    whole = experts.gathered(experts.QWEN, stored, {**decoder.sizes_of(config), **sizes}, PREFIX)
    return decoder.with_output(decoder.tensors(SLOTS, config, whole, sizes=sizes))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    heads = count(config, "num_attention_heads")
    fixed = {**FIXED, "head_dim": (count(config, "hidden_size") // heads,), "num_key_value_heads": (heads,)}
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, fixed)
