"""Qwen 1.5, 2 and 2.5: biased projections to queries, keys and values."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, count, with_defaults
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "qwen2"
CLASS = "Qwen2"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""What transformers' Qwen2Config fills in; it knows no `head_dim`."""
CONVERTED = ("sliding_window", "use_sliding_window", "max_window_layers")
"""Keys besides, of windows that must not be in use."""

_SLOTS = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.ATTENTION_BIASES, **decoder.FEED_FORWARD}


def metadata(config: Config) -> dict[str, Value]:
    return decoder.metadata(ARCHITECTURE, with_defaults(config, DEFAULTS))


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.tensors(_SLOTS, with_defaults(config, DEFAULTS), stored)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    complete = with_defaults(config, DEFAULTS)
    decoder.refuse_windows(ARCHITECTURE, complete)
    head = count(complete, "hidden_size") // count(complete, "num_attention_heads")
    return decoder.remarks(ARCHITECTURE, complete, placed, {*DEFAULTS, *CONVERTED}, {"head_dim": (head,)})
