"""Shows whoever asks what a model's matrices are given to multiply, while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.runtime.exchange import changed
from quantize_cli.runtime.layer import Layer, Linear
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.tape import Tape
from quantize_cli.runtime.transformer import Transformer
from quantize_cli.tensor import Tensor

Watch = Callable[[str, int, np.ndarray], None]
"""Called with a tensor's name, the number of the matrix in it (an expert's, else 0) and activations (n, columns) f32.

The activations are lent: what wants to keep them copies them.
"""


@dataclass(frozen=True)
class Watched:
    """A matrix that shows what it is given before it multiplies it."""

    matrix: Product
    watch: Watch
    number: int

    @property
    def tensor(self) -> Tensor:
        return self.matrix.tensor

    def record(self, tape: Tape, x: np.ndarray) -> np.ndarray:
        tape.call(lambda: self.watch(self.tensor.name, self.number, x))
        return self.matrix.record(tape, x)


def watched(transformer: Transformer, watch: Watch) -> Transformer:
    """The same model, all of whose matrices but the token embedding are watched; of a fused one its first part."""
    output = transformer.output
    if output.matrix is not transformer.embedding:
        output = _Watcher(watch).linear(output)
    layers = tuple(watched_layer(layer, watch) for layer in transformer.layers)
    return replace(transformer, layers=layers, output=output, _passes={}, _spares=[], _projections={})


def watched_layer(layer: Layer, watch: Watch) -> Layer:
    """The same layer, watched."""
    return changed(layer, _Watcher(watch).linear)


class _Watcher:
    """Wraps matrices, each tensor's once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._met: set[tuple[str, int]] = set()

    def linear(self, linear: Linear, number: int = 0) -> Linear:
        key = linear.matrix.tensor.name, number
        if key in self._met:
            return linear
        self._met.add(key)
        return replace(linear, matrix=Watched(linear.matrix, self._watch, number))
