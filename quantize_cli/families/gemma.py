"""Gemma 1 and CodeGemma: GELU gates, a scaled embedding that is the output too, norms stored less one."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder, gemma, keys, rope
from quantize_cli.families.decoder.config import Config
from quantize_cli.families.decoder.slots import optional
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gemma"
CLASS = "Gemma"
TOKENIZERS = ("spm",)
DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
"""What transformers' GemmaConfig fills in."""
FIXED = {
    "hidden_act": (*keys.TANH_GELU, keys.EXACT_GELU),
    "hidden_activation": keys.TANH_GELU,
    "tie_word_embeddings": (True,),
    "use_bidirectional_attention": (False,),
}
"""The first configs say "gelu" and mean its tanh formula, as transformers reads them."""
_END_OF_TURN = 107

PREFIX = decoder.PREFIX
SLOTS = gemma.plus_one(
    {**gemma.EMBEDDING, **decoder.ATTENTION, **optional(decoder.ATTENTION_BIASES), **decoder.FEED_FORWARD}
)
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config)),
        **decoder.epsilon(ARCHITECTURE, config, "rms_norm_eps"),
        **decoder.head_widths(ARCHITECTURE, config),
    }


def tokenizer_metadata(_checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    return {"tokenizer.ggml.eot_token_id": u32(_END_OF_TURN)}


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, FIXED)
