"""Mistral 7B and Nemo. Their sliding window has no key: llama.cpp's `llama` architecture attends to everything.

So the file computes the same as long as a text is no longer than the window, and a longer window is worth a warning.
"""

from collections.abc import Sequence

from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder import windows
from quantize_cli.families.decoder.config import Config
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "Mistral"
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
    "sliding_window": 4096,
}
"""What transformers' MistralConfig fills in."""

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
tokenizer_metadata = architecture.tokenizer_metadata
metadata = architecture.metadata
tensors = architecture.tensors


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return *architecture.remarks(config, placed, DEFAULTS), *windows.left_out(ARCHITECTURE, config)
