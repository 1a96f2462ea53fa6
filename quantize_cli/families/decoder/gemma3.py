"""llama.cpp's `gemma3`: five layers of six attend to a window and rotate by another base; heads are normed."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder, gemma, keys, rope, windows
from quantize_cli.families.decoder.config import Config, number
from quantize_cli.families.decoder.slots import optional
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gemma3"
DEFAULTS = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": None,
}
"""What transformers' Gemma3TextConfig fills in."""
FIXED = {
    "hidden_act": (*keys.TANH_GELU, keys.EXACT_GELU),
    "hidden_activation": keys.TANH_GELU,
    "use_bidirectional_attention": (False,),
}
_PERIOD = 6
_LARGEST = 62
"""Layers of the 27B model."""
_LOCAL_BASE = 10000.0

PREFIX = decoder.PREFIX
_UNBIASED = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.HEAD_NORMS, **decoder.FEED_FORWARD}
SLOTS = gemma.plus_one({**_UNBIASED, **optional(decoder.ATTENTION_BIASES), **gemma.NORMS_AROUND})
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    cap = config["final_logit_softcapping"]
    return {
        **decoder.metadata(ARCHITECTURE, config),
        **windows.metadata(ARCHITECTURE, config, _PERIOD),
        **gemma.score_scale(ARCHITECTURE, config, _LARGEST),
        **({"gemma3.final_logit_softcapping": f32(number(config, "final_logit_softcapping"))} if cap else {}),
        "gemma3.rope.freq_base_swa": f32(rope.local_base(config, _LOCAL_BASE)),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    converted = {*DEFAULTS, *windows.KEYS, "rope_local_base_freq"}
    return (
        *decoder.remarks(ARCHITECTURE, config, placed, converted, FIXED),
        *gemma.scale_remarks(ARCHITECTURE, config, _LARGEST),
    )
