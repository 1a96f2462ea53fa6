"""A model that shows the activations its matrices multiply, while it runs."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.layer import Layer, Linear
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.recorder import Recorder
from quantize_cli.runtime.substitution import with_linears
from quantize_cli.runtime.transformer import Transformer

Watch = Callable[[str, int, np.ndarray], None]
"""Called with a tensor's name, the number of the matrix in it (an expert's, else 0) and activations (n, columns) f32.

Matrices that read the same activations are watched once, by the first of them. The array is used
again afterwards: copy what is to be kept.
"""
Chosen = Callable[[str], bool]
"""Of a tensor's name, whether something is done with its matrices."""

_SHARED = re.compile(r"\.(attn_(?:q|k|v|qkv)|ffn_(?:gate|up))(_[a-z]+)?\.weight$")
"""Names of matrices that read what others of their layer read too: the queries' input, or the feed-forward's."""


def input_of(name: str) -> str:
    """A name for the activations a tensor multiplies, which several tensors may share."""
    match = _SHARED.search(name)
    if match is None:
        return name
    kind = "attention" if match[1].startswith("attn") else "feed_forward"
    return f"{name[: match.start()]}.{kind}{match[2] or ''}"


@dataclass(frozen=True)
class ObservedMatrix:
    """A matrix that shows what it is given if there is a watch, and then multiplies it or leaves zeros."""

    matrix: Product
    watch: Watch | None
    number: int
    multiplies: bool

    @property
    def tensor(self) -> Tensor:
        return self.matrix.tensor

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        watch = self.watch
        if watch is not None:
            recorder.call(lambda: watch(self.tensor.name, self.number, x))
        if self.multiplies:
            return self.matrix.record(recorder, x)
        zeros = recorder.array(len(x), self.matrix.tensor.row_count)
        recorder.call(lambda: zeros.fill(0))
        return zeros


def observed_transformer(transformer: Transformer, watch: Watch) -> Transformer:
    """The same model, all of whose matrices but the token embedding are watched; of a fused one its first part."""
    output = transformer.output
    if output.matrix is not transformer.embedding:
        output = replace(output, matrix=ObservedMatrix(output.matrix, watch, 0, multiplies=True))
    return replace(
        transformer, layers=tuple(observed_layer(layer, watch) for layer in transformer.layers), output=output
    )


def observed_layer(
    layer: Layer, watch: Watch, shown: Chosen = lambda name: True, multiplied: Chosen = lambda name: True
) -> Layer:
    """The same layer, whose tensors `shown` are watched, and those not `multiplied` give zeros, which costs no time."""
    inputs: set[tuple[str, int]] = set()

    def observe(linear: Linear, number: int) -> Linear:
        name = linear.matrix.tensor.name
        key, multiplies = (input_of(name), number), multiplied(name)
        shows = shown(name) and key not in inputs
        if shows:
            inputs.add(key)
        if multiplies and not shows:
            return linear
        return replace(linear, matrix=ObservedMatrix(linear.matrix, watch if shows else None, number, multiplies))

    return with_linears(layer, observe)


def observed_shapes(transformer: Transformer) -> dict[str, tuple[int, int]]:
    """(matrices, columns) of each tensor in the layers whose matrices can be watched, by name."""
    shapes: dict[str, tuple[int, int]] = {}

    def note(linear: Linear, number: int) -> Linear:
        tensor = linear.matrix.tensor
        shapes[tensor.name] = number + 1, tensor.columns
        return linear

    for layer in transformer.layers:
        with_linears(layer, note)
    return shapes
