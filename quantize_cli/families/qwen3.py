"""Qwen 3, dense: queries and keys are normalised per head, and nothing is biased unless the config asks for it."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, switch
from quantize_cli.families.decoder.slots import optional
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "qwen3"
CLASS = "Qwen3"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""What transformers' Qwen3Config fills in."""
_UNASKED = tuple(slot.target for slot in {**decoder.ATTENTION_BIASES, **decoder.OUTPUT_BIAS}.values())

PREFIX = decoder.PREFIX
SLOTS = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **optional({**decoder.ATTENTION_BIASES, **decoder.OUTPUT_BIAS}),
    **decoder.HEAD_NORMS,
    **decoder.FEED_FORWARD,
}
metadata = partial(decoder.metadata, ARCHITECTURE)
tensors = partial(decoder.tensors, SLOTS)


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    decoder.refuse_windows(ARCHITECTURE, config)
    unasked = () if switch(config, "attention_bias") else decoder.unasked(placed, _UNASKED)
    return *decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *decoder.WINDOW_KEYS}, {}), *unasked
