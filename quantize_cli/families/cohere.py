"""Cohere's Command R and Aya: attention and feed-forward side by side behind one layer norm, and scaled logits."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config, count, number, switch
from quantize_cli.families.decoder.slots import HEAD, Slot, optional
from quantize_cli.formats.gguf.layout import Value, f32, text
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "command-r"
CLASS = "Cohere"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "max_position_embeddings": 8192,
    "model_max_length": None,
    "layer_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "logit_scale": 0.0625,
    "use_qk_norm": False,
    "tie_word_embeddings": True,
}
"""What transformers' CohereConfig fills in."""
FIXED = {"tie_word_embeddings": (True,), "attention_bias": (False,)}
_NORMED_LAYERS = 64
"""llama.cpp takes models with as many layers to have normed heads, and no others."""

PREFIX = decoder.PREFIX
_PLAIN = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD}
_HEAD_NORMS = {
    "layers.{}.self_attn.q_norm.weight": Slot("blk.{}.attn_q_norm.weight", ("heads", "head")),
    "layers.{}.self_attn.k_norm.weight": Slot("blk.{}.attn_k_norm.weight", ("key_heads", "head")),
}
SLOTS = {
    **{name: slot for name, slot in _PLAIN.items() if name != HEAD and ".post_attention_layernorm." not in name},
    **optional(_HEAD_NORMS),
}
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    # Published configs state the context they were first trained on as the smaller of the two.
    context = "max_position_embeddings" if config["model_max_length"] is None else "model_max_length"
    config = {**config, "max_position_embeddings": count(config, context)}
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **decoder.positions(ARCHITECTURE, config),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
        "command-r.logit_scale": f32(number(config, "logit_scale")),
        "command-r.rope.scaling.type": text("none"),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    layers, normed = count(config, "num_hidden_layers"), switch(config, "use_qk_norm")
    if normed != (layers >= _NORMED_LAYERS):
        raise InputError(
            f"config.json: key 'use_qk_norm' is {str(normed).lower()} in a model of {layers} layers: llama.cpp's "
            f"'command-r' norms heads from {_NORMED_LAYERS} layers on"
        )
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, FIXED)
