"""One embedding of a text, made of what a model gives for its tokens."""

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.runtime.hyperparameters import HasMetadata, integer, string

POOLINGS = ("mean", "cls", "last")
_BY_NUMBER = (None, *POOLINGS)
"""llama.cpp's numbers (enum llama_pooling_type), which begin with none at all."""
_RANK = 4


def pooling_of(model: HasMetadata) -> str:
    """How a file says that tokens are pooled; InputError where it does not, or where the model ranks pairs."""
    key = f"{string(model, 'general.architecture')}.pooling_type"
    number = integer(model, key, 0, least=0, highest=_RANK)
    if number == _RANK:
        raise InputError(f"{model.path}: '{key}' is {_RANK}: the model ranks pairs of texts, and gives no embeddings")
    name = _BY_NUMBER[number]
    if name is None:
        raise InputError(
            f"{model.path}: it does not say how one embedding is made of a text's tokens",
            hint="--pooling mean, cls or last, as the model's card says",
        )
    return name


def pooled(states: np.ndarray, pooling: str) -> np.ndarray:
    """States of tokens (n, width) f32 -> one (width,) f32: their mean, or that of the first or the last token."""
    if pooling == "mean":
        mean: np.ndarray = states.mean(0, dtype=np.float64).astype(np.float32)
        return mean
    state: np.ndarray = states[0 if pooling == "cls" else -1]
    return state


def normalized(embedding: np.ndarray) -> np.ndarray:
    """The embedding scaled to a length of one; zeros stay as they are."""
    length = np.linalg.norm(embedding.astype(np.float64))
    scaled: np.ndarray = (embedding / length).astype(np.float32) if length else embedding
    return scaled
