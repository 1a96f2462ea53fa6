"""Architectures whose layers the runtime alone knows, and those that predict nothing."""

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.runtime.family import FAMILIES
from quantize_cli.runtime.hyperparameters import HasMetadata, string


def refuse_only_run(model: HasMetadata) -> None:
    """InputError for an architecture that neither training nor rounding or scaling by a text knows."""
    architecture = string(model, "general.architecture")
    if architecture in FAMILIES and FAMILIES[architecture].only_runs:
        raise InputError(
            f"{model.path}: architecture {quoted(architecture)} is only run: its layers can be neither trained, nor "
            "rounded or scaled by what a text gives them",
            hint="without these methods it can be quantized, by an importance matrix too",
        )


def refuse_encoder(model: HasMetadata) -> None:
    """InputError for an architecture that predicts no tokens."""
    architecture = string(model, "general.architecture")
    if architecture in FAMILIES and FAMILIES[architecture].encoder:
        raise InputError(
            f"{model.path}: architecture {quoted(architecture)} is an encoder: it gives embeddings of texts, and "
            "predicts no tokens",
            hint="quantize embed gives them; it can be quantized without reading a text",
        )
