"""Qwen 1.5, 2 and 2.5: biased projections to queries, keys and values."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, count
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

PREFIX = decoder.PREFIX
SLOTS = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.ATTENTION_BIASES, **decoder.FEED_FORWARD}
metadata = partial(decoder.metadata, ARCHITECTURE)
tensors = partial(decoder.tensors, SLOTS)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    decoder.refuse_windows(ARCHITECTURE, config)
    head = count(config, "hidden_size") // count(config, "num_attention_heads")
    return decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *decoder.WINDOW_KEYS}, {"head_dim": (head,)})
