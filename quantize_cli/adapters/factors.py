"""The two factors of each term, as files store them."""

from collections.abc import Iterable

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.tensor import from_stored, refuse_not_finite


def factors_of(source: str, names: Iterable[str], endings: tuple[str, str]) -> list[str]:
    """What stands before the two endings, in the order of the file; InputError for a name without the other factor."""
    names = list(names)
    for name in names:
        ending = next((ending for ending in endings if name.endswith(ending)), None)
        if ending is None:
            raise InputError(f"{source}tensor {quoted(name)} is no factor of a low-rank term")
        other = name.removesuffix(ending) + endings[endings[0] == ending]
        if other not in names:
            raise InputError(f"{source}tensor {quoted(name)} is without {quoted(other)}")
    if not names:
        raise InputError(f"{source}an adapter without tensors")
    return [name.removesuffix(endings[0]) for name in names if name.endswith(endings[0])]


def finite(stored: StoredTensor) -> np.ndarray:
    """A factor as (rows, columns) f32; InputError unless it is a matrix of finite floats that is not empty."""
    tensor = from_stored(stored)
    if len(tensor.shape) != 2 or 0 in tensor.shape or tensor.type not in FLOAT_TYPES:
        raise InputError(
            f"{tensor.origin}: {tensor.type.name.lower()} of shape {list(tensor.shape)}, "
            "a factor is a matrix of f32, f16 or bf16"
        )
    values = tensor.read(0, tensor.row_count).astype(np.float32)
    refuse_not_finite(values, tensor.origin, 0)
    return values
