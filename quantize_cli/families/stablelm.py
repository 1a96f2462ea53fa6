"""StableLM: layer norms, part of a head rotated, and attention and feed-forward side by side if so configured."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, rope
from quantize_cli.families.decoder.config import Config, switch
from quantize_cli.families.decoder.slots import biases, optional
from quantize_cli.formats.gguf.layout import Value, flag, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "stablelm"
CLASS = "StableLm"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "partial_rotary_factor": 0.25,
    "layer_norm_eps": 1e-5,
    "use_qkv_bias": False,
    "use_parallel_residual": False,
    "tie_word_embeddings": False,
}
"""What transformers' StableLmConfig fills in."""
ALIASES = {"rope_pct": "partial_rotary_factor", "norm_eps": "layer_norm_eps"}

PREFIX = decoder.PREFIX
_FEED_FORWARD_NORM = {
    name: slot
    for name, slot in {**decoder.FEED_FORWARD, **biases(decoder.FEED_FORWARD)}.items()
    if ".post_attention_layernorm." in name
}
_NORM_BIASES = {
    name: slot
    for name, slot in biases({**decoder.EMBEDDING, **decoder.ATTENTION}).items()
    if name in ("norm.bias", "layers.{}.input_layernorm.bias")
}
_EVERYWHERE = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **_NORM_BIASES,
    **{name: slot for name, slot in decoder.FEED_FORWARD.items() if name not in _FEED_FORWARD_NORM},
}
SLOTS = {**_EVERYWHERE, **optional({**decoder.ATTENTION_BIASES, **_FEED_FORWARD_NORM})}
"""All there may be."""


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config, partly=True)),
        "stablelm.rope.dimension_count": u32(rope.rotated(config, decoder.head_dim(config))),
        "stablelm.use_parallel_residual": flag(switch(config, "use_parallel_residual")),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    slots = dict(_EVERYWHERE)
    if switch(config, "use_qkv_bias"):
        slots |= decoder.ATTENTION_BIASES
    if not switch(config, "use_parallel_residual"):
        slots |= _FEED_FORWARD_NORM
    return decoder.with_output(decoder.tensors(slots, config, stored))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, {})
