"""Llama 1 to 3, and what shares their code: TinyLlama, SmolLM, Yi, DeepSeek's first models, ..."""

from collections.abc import Sequence

from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config, switch
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "Llama"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""What transformers' LlamaConfig fills in."""

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
tokenizer_metadata = architecture.tokenizer_metadata
metadata = architecture.metadata


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return architecture.tensors(config, stored, _biased(config))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return architecture.remarks(config, placed, {*DEFAULTS, "mlp_bias"}, _biased(config))


def _biased(config: Config) -> tuple[bool, bool]:
    """Whether attention and feed-forward have biases."""
    return switch(config, "attention_bias"), switch(config, "mlp_bias")
