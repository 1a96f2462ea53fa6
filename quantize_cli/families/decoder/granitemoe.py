"""llama.cpp's `granitemoe` architecture, which two model types become."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, experts, granite
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "granitemoe"
DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
    "tie_word_embeddings": False,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 0,
}
"""What transformers' GraniteMoeConfig and GraniteMoeSharedConfig fill in."""

PREFIX = decoder.PREFIX
_BOTH_SHARED = (
    Slot("blk.{}.ffn_gate_shexp.weight", ("shared", "hidden")),
    Slot("blk.{}.ffn_up_shexp.weight", ("shared", "hidden")),
)
_SHARED = {
    "layers.{}.shared_mlp.input_linear.weight": Slot("", ("shared_gate_and_up", "hidden"), parts=_BOTH_SHARED),
    "layers.{}.shared_mlp.output_linear.weight": Slot("blk.{}.ffn_down_shexp.weight", ("hidden", "shared")),
}
_UNSHARED = decoder.with_adjacent_pairs(
    {
        **decoder.EMBEDDING,
        **decoder.ATTENTION,
        **decoder.FEED_FORWARD_NORM,
        "layers.{}.block_sparse_moe.router.layer.weight": experts.ROUTER,
        "layers.{}.block_sparse_moe.input_linear.weight": experts.GATE_AND_UP,
        "layers.{}.block_sparse_moe.output_linear.weight": experts.DOWN,
        "layers.{}.block_sparse_moe.router.weight": experts.ROUTER,
        "layers.{}.block_sparse_moe.experts.gate_up_proj": experts.GATE_AND_UP,
        "layers.{}.block_sparse_moe.experts.down_proj": experts.DOWN,
    }
)
SLOTS = {**_UNSHARED, **_SHARED}
"""All there may be, a shared expert too."""
tokenizer_metadata = architecture.tokenizer_metadata


def metadata(config: Config) -> dict[str, Value]:
    shared = _shared(config)
    return {
        **decoder.metadata(ARCHITECTURE, {**config, "head_dim": None}),
        **experts.metadata(ARCHITECTURE, config),
        **granite.scales(ARCHITECTURE, config),
        **({"granitemoe.expert_shared_feed_forward_length": u32(shared)} if shared else {}),
        "granitemoe.vocab_size": u32(count(config, "vocab_size")),
        "granitemoe.rope.dimension_count": u32(decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    shared = _shared(config)
    sizes = {**experts.sizes_of(config, "intermediate_size"), "shared": shared, "shared_gate_and_up": 2 * shared}
    placed = decoder.tensors(SLOTS if shared else _UNSHARED, config, stored, sizes=sizes)
    return [*architecture.rotary_tensors(config), *placed]


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    head = count(config, "hidden_size") // count(config, "num_attention_heads")
    fixed = {"head_dim": (head,), "attention_bias": (False,)}
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, fixed)


def _shared(config: Config) -> int:
    """The inner width of the expert that sees every token; 0 where there is none."""
    return count(config, "shared_intermediate_size") if config["shared_intermediate_size"] else 0
