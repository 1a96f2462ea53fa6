"""Mistral 7B and Nemo. Their sliding window has no key: llama.cpp's `llama` architecture attends to everything."""

from collections.abc import Sequence

from formats.gguf.layout import Value
from quantize_cli.models import _llama_architecture as architecture
from quantize_cli.models._config import Config, with_defaults
from quantize_cli.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": None,
    "max_position_embeddings": 4096 * 32,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""What transformers' MistralConfig fills in."""

tokenizer_metadata = architecture.tokenizer_metadata


def metadata(config: Config) -> dict[str, Value]:
    return architecture.metadata(with_defaults(config, DEFAULTS))


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return architecture.tensors(with_defaults(config, DEFAULTS), stored)
