"""Small decoders some of whose channels carry far more than others, as those of large models do."""

from pathlib import Path

from quantize_cli.source import Model, open_model
from tests.runtime.synthetic import Decoder, weights, write


def outlying(folder: Path, decoder: Decoder) -> Model:
    """The decoder with every ninth weight of its norms twelve times as large."""
    made = weights(decoder)
    for name, values in made.items():
        if name.endswith("norm.weight"):
            values[..., ::9] *= 12
    return open_model(write(folder / "model.gguf", decoder, made))
