"""OLMo 1: layer norms without weights, and projections clipped if the config asks for it."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, number
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "olmo"
CLASS = "Olmo"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "clip_qkv": None,
    "tie_word_embeddings": False,
}
"""What transformers' OlmoConfig fills in."""
FIXED = {"attention_bias": (False,)}
_EPSILON = 1e-5
"""In transformers' code."""

PREFIX = decoder.PREFIX
SLOTS = decoder.with_adjacent_pairs(
    {
        name: slot
        for name, slot in {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD}.items()
        if not name.endswith("norm.weight")
    }
)
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    clip = config["clip_qkv"]
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **decoder.positions(ARCHITECTURE, config),
        "olmo.attention.layer_norm_epsilon": f32(_EPSILON),
        **({} if clip is None else {"olmo.attention.clamp_kqv": f32(number(config, "clip_qkv"))}),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, FIXED)
