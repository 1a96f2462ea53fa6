"""Granite: Llama with numbers that embeddings, scores, what is added to the stream, and logits are multiplied by."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, granite
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config, count, switch
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "granite"
CLASS = "Granite"
TOKENIZERS = ("spm", "bpe")
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
}
"""What transformers' GraniteConfig fills in."""

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
tokenizer_metadata = architecture.tokenizer_metadata


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, {**config, "head_dim": None}),
        **granite.scales(ARCHITECTURE, config),
        "granite.vocab_size": u32(count(config, "vocab_size")),
        "granite.rope.dimension_count": u32(decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return architecture.tensors(config, stored, _biased(config))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    head = count(config, "hidden_size") // count(config, "num_attention_heads")
    fixed = {"head_dim": (head,)}
    return decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, "mlp_bias"}, fixed)


def _biased(config: Config) -> tuple[bool, bool]:
    """Whether attention and feed-forward have biases."""
    return switch(config, "attention_bias"), switch(config, "mlp_bias")
