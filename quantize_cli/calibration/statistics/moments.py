"""What the inputs of matrices are like: second moments, of the model as it was and of what it has become so far."""

import re
from dataclasses import dataclass

import numpy as np

from quantize_cli.jit.matrices import add_gram
from quantize_cli.machine import processors

_SHARED = re.compile(r"\.(attn_(?:q|k|v|qkv)|ffn_(?:gate|up))(_[a-z]+)?\.weight$")
"""Names of matrices that read what others of their layer read too: the queries' input, or the feed-forward's."""


def input_of(name: str) -> str:
    """A name for what the tensor multiplies: the same for tensors that are given the same."""
    found = _SHARED.search(name)
    if found is None:
        return name
    kind = "attention" if found[1].startswith("attn") else "feed_forward"
    return f"{name[: found.start()]}.{kind}{found[2] or ''}"


@dataclass(frozen=True)
class Shown:
    """What one model gave a matrix for some tokens."""

    inputs: np.ndarray
    """(n, columns) f32."""
    stream: np.ndarray | None = None
    """(n, rows) f32: what the product will be added to; None where it is not added as it is."""


class Moments:
    """Sums over tokens of products of what the quantized model gives a matrix with itself and with what the float does.

    X and F being the inputs in the quantized and in the float model, Y and G the streams their products are added to.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.second = np.zeros((columns, columns))
        """X^T X."""
        self.shift: np.ndarray | None = None
        """(F - X)^T X (columns, columns); None if there are no F for the same tokens."""
        self.owed: np.ndarray | None = None
        """(G - Y)^T X (rows, columns); None as before, or if there is no stream."""

    def add(self, quantized: Shown, original: Shown | None) -> None:
        """Count in what was shown of the same tokens by both models."""
        x = quantized.inputs
        self.count += len(x)
        add_gram(self.second, x, threads=processors())
        if original is not None:
            self.shift = _added(self.shift, original.inputs - x, x)
            if quantized.stream is not None and original.stream is not None:
                self.owed = _added(self.owed, original.stream - quantized.stream, x)


def _added(total: np.ndarray | None, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    found = np.zeros((left.shape[1], right.shape[1])) if total is None else total
    add_gram(found, left, right, processors())
    return found
