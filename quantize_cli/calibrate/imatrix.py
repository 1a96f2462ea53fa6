"""The diagonal method: errors in a column cost what its activations' mean square says (llama.cpp's imatrix)."""

from math import prod
from pathlib import Path

import numpy as np

from formats.imatrix import read_imatrix
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.plan import Importance
from quantize_cli.source import Model


def importance(model: Model, path: Path) -> Importance:
    """What the file at `path` says of each of the model's tensors, (matrices, columns) f32.

    InputError when the size of an entry is not that of its tensor. Only a token embedding may differ, and then goes
    without, as in llama.cpp.
    """
    means = read_imatrix(path).means
    found = {}
    for tensor in model.tensors:
        if tensor.name not in means:
            continue
        matrices = prod(tensor.shape[:-2])
        values = means[tensor.name]
        if values.size == matrices * tensor.columns:
            found[tensor.name] = np.ascontiguousarray(values.reshape(matrices, tensor.columns), np.float32)
        elif tensor.name != "token_embd.weight":
            raise InputError(
                f"{path}: {values.size} values for {quoted(tensor.name)}, which has {matrices} x {tensor.columns} columns",
                hint="the importance matrix was made from another model",
            )
    if not found:
        raise InputError(f"{path}: none of its {len(means)} names is a tensor of {model.path}")
    return found
