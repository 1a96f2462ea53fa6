"""SmolLM 3: Llama whose every fourth layer does not rotate."""

from collections.abc import Sequence

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config, count, spelled, switch
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "smollm3"
CLASS = "SmolLM3"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 2000000.0,
    "no_rope_layer_interval": 4,
    "no_rope_layers": None,
    "tie_word_embeddings": True,
}
"""What transformers' SmolLM3Config fills in."""
_PERIOD = 4
"""llama.cpp reads no key for it."""

PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
tokenizer_metadata = architecture.tokenizer_metadata


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, config),
        "smollm3.vocab_size": u32(count(config, "vocab_size")),
        "smollm3.rope.dimension_count": u32(decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return architecture.tensors(config, stored, (switch(config, "attention_bias"), False))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    decoder.refuse_windows(ARCHITECTURE, config)
    layers, turning = count(config, "num_hidden_layers"), config["no_rope_layers"]
    if turning is None:
        period = count(config, "no_rope_layer_interval")
        turning = [int((layer + 1) % period != 0) for layer in range(layers)]
    if turning != [int((layer + 1) % _PERIOD != 0) for layer in range(layers)]:
        raise InputError(
            f"config.json: key 'no_rope_layers' is {spelled(turning)}, llama.cpp's 'smollm3' rotates all of {layers} "
            f"layers but each {_PERIOD}th"
        )
    converted = {*DEFAULTS, *decoder.WINDOW_KEYS}
    return decoder.remarks(ARCHITECTURE, config, placed, converted, {"mlp_bias": (False,)})
