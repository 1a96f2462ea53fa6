"""Shows whoever asks what a model's matrices are given to multiply, while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.layer import Layer, Linear
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.recorder import Tape
from quantize_cli.runtime.substitution import changed
from quantize_cli.runtime.transformer import Transformer

Watch = Callable[[str, int, np.ndarray], None]
"""Called with a tensor's name, the number of the matrix in it (an expert's, else 0) and activations (n, columns) f32.

The activations are lent: what wants to keep them copies them.
"""


Wanted = Callable[[str], bool]
"""Of a tensor's name, whether something is wanted of its matrices."""


def _always(name: str) -> bool:
    return True


@dataclass(frozen=True)
class Watched:
    """A matrix that shows what it is given, and then multiplies it unless nobody wants to know what comes of it."""

    matrix: Product
    watch: Watch
    number: int
    multiplies: bool

    @property
    def tensor(self) -> Tensor:
        return self.matrix.tensor

    def record(self, tape: Tape, x: np.ndarray) -> np.ndarray:
        tape.call(lambda: self.watch(self.tensor.name, self.number, x))
        return self.matrix.record(tape, x) if self.multiplies else _anything(self.matrix, tape, x)


@dataclass(frozen=True)
class Idle:
    """A matrix of whose products nothing is wanted."""

    matrix: Product

    @property
    def tensor(self) -> Tensor:
        return self.matrix.tensor

    def record(self, tape: Tape, x: np.ndarray) -> np.ndarray:
        return _anything(self.matrix, tape, x)


def _anything(matrix: Product, tape: Tape, x: np.ndarray) -> np.ndarray:
    """Finite numbers where the product would lie."""
    out = tape.array(len(x), matrix.tensor.row_count)
    tape.call(lambda: out.fill(0))
    return out


def watched(transformer: Transformer, watch: Watch) -> Transformer:
    """The same model, all of whose matrices but the token embedding are watched; of a fused one its first part."""
    output = transformer.output
    if output.matrix is not transformer.embedding:
        output = _Watcher(watch).linear(output, 0)
    layers = tuple(watched_layer(layer, watch) for layer in transformer.layers)
    return replace(transformer, layers=layers, output=output, _passes={}, _spares=[], _projections={})


def watched_layer(layer: Layer, watch: Watch, shown: Wanted = _always, multiplied: Wanted = _always) -> Layer:
    """The same layer, whose tensors `shown` are watched, and those not `multiplied` give zeros.

    Whoever only wants to see the inputs of some does not pay for those behind.
    """
    return changed(layer, _Watcher(watch, shown, multiplied).linear)


def watched_shapes(transformer: Transformer) -> dict[str, tuple[int, int]]:
    """(matrices, columns) of each tensor in the layers whose matrices can be watched, by name."""
    shapes: dict[str, tuple[int, int]] = {}

    def note(linear: Linear, number: int) -> Linear:
        tensor = linear.matrix.tensor
        shapes[tensor.name] = number + 1, tensor.columns
        return linear

    for layer in transformer.layers:
        changed(layer, note)
    return shapes


class _Watcher:
    """Wraps matrices, each tensor's once."""

    def __init__(self, watch: Watch, shown: Wanted = _always, multiplied: Wanted = _always) -> None:
        self._watch, self._shown, self._multiplied = watch, shown, multiplied
        self._met: set[tuple[str, int]] = set()

    def linear(self, linear: Linear, number: int) -> Linear:
        name = linear.matrix.tensor.name
        multiplies = self._multiplied(name)
        if (name, number) in self._met or not self._shown(name):
            return linear if multiplies else replace(linear, matrix=Idle(linear.matrix))
        self._met.add((name, number))
        return replace(linear, matrix=Watched(linear.matrix, self._watch, number, multiplies))
