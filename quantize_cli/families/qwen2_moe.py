"""Qwen 1.5 and 2 with experts: the shares of those chosen stay as they are, and one more expert sees every token."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, experts
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "qwen2moe"
CLASS = "Qwen2Moe"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_local_experts": 60,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "norm_topk_prob": False,
}
"""What transformers' Qwen2MoeConfig fills in; it knows no `head_dim`."""
ALIASES = {"num_experts": "num_local_experts"}
FIXED = {"norm_topk_prob": (False,), "decoder_sparse_step": (1,), "mlp_only_layers": (), "qkv_bias": (True,)}

PREFIX = decoder.PREFIX
_SHARED = {
    "layers.{}.mlp.shared_expert.gate_proj.weight": Slot("blk.{}.ffn_gate_shexp.weight", ("shared", "hidden")),
    "layers.{}.mlp.shared_expert.up_proj.weight": Slot("blk.{}.ffn_up_shexp.weight", ("shared", "hidden")),
    "layers.{}.mlp.shared_expert.down_proj.weight": Slot("blk.{}.ffn_down_shexp.weight", ("hidden", "shared")),
    "layers.{}.mlp.shared_expert_gate.weight": Slot("blk.{}.ffn_gate_inp_shexp.weight", ("one", "hidden")),
}
SLOTS = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **decoder.ATTENTION_BIASES,
    **decoder.FEED_FORWARD_NORM,
    **experts.QWEN.slots(),
    **_SHARED,
}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, config),
        **experts.metadata(ARCHITECTURE, config),
        "qwen2moe.expert_feed_forward_length": u32(count(config, "moe_intermediate_size")),
        "qwen2moe.expert_shared_feed_forward_length": u32(count(config, "shared_expert_intermediate_size")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    own = experts.sizes_of(config, "moe_intermediate_size")
    sizes = {**own, "shared": count(config, "shared_expert_intermediate_size"), "one": 1}
    whole = experts.gathered(experts.QWEN, stored, {**decoder.sizes_of(config), **sizes}, PREFIX)
    return decoder.with_output(decoder.tensors(SLOTS, config, whole, sizes=sizes))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    decoder.refuse_windows(ARCHITECTURE, config)
    head = count(config, "hidden_size") // count(config, "num_attention_heads")
    fixed = {**FIXED, "head_dim": (head,)}
    return decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *decoder.WINDOW_KEYS}, fixed)
