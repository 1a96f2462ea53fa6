"""What Gemma's generations share: norms stored less one, scores scaled by a number of their own, layers in patterns."""

from dataclasses import replace

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, number
from quantize_cli.families.decoder.slots import HEAD, Slot, Slots
from quantize_cli.formats.gguf.layout import Value, f32

EMBEDDING = {name: slot for name, slot in decoder.EMBEDDING.items() if name != HEAD}
"""llama.cpp takes the embedding for the output."""
NORMS_AROUND = {
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.post_attention_norm.weight", ("hidden",)),
    "layers.{}.pre_feedforward_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.post_feedforward_layernorm.weight": Slot("blk.{}.post_ffw_norm.weight", ("hidden",)),
}
"""What attention and feed-forward give is normed too."""


def plus_one(slots: Slots) -> dict[str, Slot]:
    """The same slots, with one added to the weights of norms, which transformers adds when it norms."""
    return {name: replace(slot, shift=1.0) if name.endswith("norm.weight") else slot for name, slot in slots.items()}


def score_scale(architecture: str, config: Config, largest: int) -> dict[str, Value]:
    """What scores are multiplied by, where it is not what llama.cpp fixes: a key of our own, which it does not read.

    `largest` is the number of layers of the size whose scores are scaled by the root of width / heads.
    """
    scale = number(config, "query_pre_attn_scalar") ** -0.5
    if scale == _fixed_scalar(config, largest) ** -0.5:
        return {}
    return {f"{architecture}.attention.scale": f32(scale)}


def scale_remarks(architecture: str, config: Config, largest: int) -> tuple[str, ...]:
    """A warning where llama.cpp scales scores otherwise."""
    scalar, fixed = number(config, "query_pre_attn_scalar"), _fixed_scalar(config, largest)
    if scalar == fixed:
        return ()
    return (
        f"config.json: key 'query_pre_attn_scalar' is {scalar:g}, llama.cpp's '{architecture}' computes with {fixed:g} "
        "only: it will give other logits for this file than transformers",
    )


def _fixed_scalar(config: Config, largest: int) -> float:
    if config["num_hidden_layers"] == largest:
        return number(config, "hidden_size") / number(config, "num_attention_heads")
    return float(decoder.head_dim(config))
