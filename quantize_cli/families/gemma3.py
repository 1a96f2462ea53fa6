"""Gemma 3 with its wrapper for images (`Gemma3ForConditionalGeneration`), of which the text model is converted."""

from collections.abc import Sequence

from quantize_cli.families.decoder import gemma3 as text
from quantize_cli.families.decoder.config import Config
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = text.ARCHITECTURE
CLASS = "Gemma3ForConditionalGeneration"
INNER = "text_config"
"""Where the config of the text model stands."""
TOKENIZERS = ("spm",)
DEFAULTS = text.DEFAULTS
PREFIX, SLOTS = text.PREFIX, text.SLOTS
metadata = text.metadata

_TEXT = "language_model."
LEFT_OUT = ("vision_tower.", "multi_modal_projector.")
_WRAPPER_KEYS = {"boi_token_index", "eoi_token_index", "image_token_index", "image_token_id", "mm_tokens_per_image"}


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """The text model's: "language_model." stands before or after "model.", by the version of transformers."""
    own = [tensor for tensor in stored if not tensor.name.removeprefix(text.PREFIX).startswith(LEFT_OUT)]
    return text.tensors(config, [tensor.renamed(tensor.name.replace(_TEXT, "", 1)) for tensor in own])


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    own = {key: value for key, value in config.items() if key not in _WRAPPER_KEYS}
    images = ("only the text model is converted: what reads images is left out",) if "vision_config" in config else ()
    return *text.remarks({key: own[key] for key in own if key != "vision_config"}, placed), *images
