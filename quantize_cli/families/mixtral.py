"""Mixtral: Mistral with eight experts or so in each layer, of which every token goes through two."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, experts, windows
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "Mixtral"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096 * 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "sliding_window": None,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
"""What transformers' MixtralConfig fills in; a missing `head_dim` is an equal share of the hidden size."""

PREFIX = decoder.PREFIX
SLOTS = decoder.with_adjacent_pairs(
    {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD_NORM, **experts.MIXTRAL.slots()}
)
tokenizer_metadata = architecture.tokenizer_metadata


def metadata(config: Config) -> dict[str, Value]:
    return {**architecture.metadata(config), **experts.metadata(ARCHITECTURE, config)}


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    sizes = experts.sizes_of(config, "intermediate_size")
    whole = experts.gathered(experts.MIXTRAL, stored, {**decoder.sizes_of(config), **sizes}, PREFIX)
    return [*architecture.rotary_tensors(config), *decoder.tensors(SLOTS, config, whole, sizes=sizes)]


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    converted = {*DEFAULTS, "head_dim", "router_jitter_noise"}
    return *architecture.remarks(config, placed, converted), *windows.left_out(ARCHITECTURE, config)
