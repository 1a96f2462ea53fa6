"""What Granite's architectures share: numbers that embeddings, scores, the stream and logits are multiplied by."""

from quantize_cli.families.decoder.config import Config, number
from quantize_cli.formats.gguf.layout import Value, f32

_SCALES = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}


def scales(architecture: str, config: Config) -> dict[str, Value]:
    """The keys of those that the config gives, but for zeros."""
    return {f"{architecture}.{target}": f32(number(config, key)) for key, target in _SCALES.items() if config[key]}
