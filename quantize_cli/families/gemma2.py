"""Gemma 2: every other layer attends to a window, scores and logits are bent below a cap, outputs are normed too."""

from collections.abc import Sequence
from functools import partial

from quantize_cli.families.decoder import decoder, gemma, keys, rope, windows
from quantize_cli.families.decoder.config import Config, number
from quantize_cli.families.decoder.slots import optional
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gemma2"
CLASS = "Gemma2"
TOKENIZERS = ("spm",)
DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
"""What transformers' Gemma2Config fills in."""
FIXED = {
    "hidden_act": (*keys.TANH_GELU, keys.EXACT_GELU),
    "hidden_activation": keys.TANH_GELU,
    "tie_word_embeddings": (True,),
    "use_bidirectional_attention": (False,),
}
_PERIOD = 2
_LARGEST = 46
"""Layers of the 27B model."""

PREFIX = decoder.PREFIX
SLOTS = gemma.plus_one(
    {
        **gemma.EMBEDDING,
        **decoder.ATTENTION,
        **optional(decoder.ATTENTION_BIASES),
        **decoder.FEED_FORWARD,
        **gemma.NORMS_AROUND,
    }
)
tensors = partial(decoder.tensors, SLOTS)


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config)),
        **decoder.epsilon(ARCHITECTURE, config, "rms_norm_eps"),
        **decoder.head_widths(ARCHITECTURE, config),
        **windows.metadata(ARCHITECTURE, config, _PERIOD),
        **gemma.score_scale(ARCHITECTURE, config, _LARGEST),
        "gemma2.attn_logit_softcapping": f32(number(config, "attn_logit_softcapping")),
        "gemma2.final_logit_softcapping": f32(number(config, "final_logit_softcapping")),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return (
        *decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *windows.KEYS}, FIXED),
        *gemma.scale_remarks(ARCHITECTURE, config, _LARGEST),
    )
