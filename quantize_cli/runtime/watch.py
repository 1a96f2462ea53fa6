"""Shows whoever asks what a model's matrices are given to multiply, while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.runtime.layer import FeedForward, Layer, Linear
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.tape import Part, Tape
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
    return _Watcher(watch).layer(layer)


def watched_shapes(transformer: Transformer) -> dict[str, tuple[int, int]]:
    """(matrices, columns) of each tensor in the layers whose matrices can be watched, by name."""
    watcher = _Watcher(lambda name, number, x: None)
    for layer in transformer.layers:
        watcher.layer(layer)
    return watcher.shapes


class _Watcher:
    """Wraps matrices, each tensor's once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._met: set[tuple[str, int]] = set()
        self.shapes: dict[str, tuple[int, int]] = {}
        """(matrices, columns) by name."""

    def layer(self, layer: Layer) -> Layer:
        return replace(
            layer,
            query=self.linear(layer.query),
            key=self.linear(layer.key),
            value=self.linear(layer.value),
            attention_output=self.linear(layer.attention_output),
            feed_forward=self.feed_forward(layer.feed_forward),
        )

    def linear(self, linear: Linear, number: int = 0) -> Linear:
        tensor = linear.matrix.tensor
        key = tensor.name, number
        if key in self._met:
            return linear
        self._met.add(key)
        self.shapes[tensor.name] = number + 1, tensor.columns
        return replace(linear, matrix=Watched(linear.matrix, self._watch, number))

    def feed_forward(self, part: Part) -> Part:
        if isinstance(part, Mixture):
            return replace(
                part,
                router=self.linear(part.router),
                experts=tuple(self._formed(expert, number) for number, expert in enumerate(part.experts)),
                shared=None if part.shared is None else self._formed(part.shared, 0),
                shared_gate=None if part.shared_gate is None else self.linear(part.shared_gate),
            )
        assert isinstance(part, FeedForward)
        return self._formed(part, 0)

    def _formed(self, part: FeedForward, number: int) -> FeedForward:
        gate = None if part.gate is None else self.linear(part.gate, number)
        return replace(part, gate=gate, up=self.linear(part.up, number), down=self.linear(part.down, number))
