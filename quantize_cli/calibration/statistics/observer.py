"""Statistics of activations: all that are registered with one observer come from one pass over the text."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from quantize_cli.jit.matrices import add_gram
from quantize_cli.runtime.layer_runner import LayerRunner
from quantize_cli.runtime.observed_layer import Chosen, input_of, observed_layer
from quantize_cli.runtime.transformer import Transformer

Input = tuple[str, int]
"""The activations of a matrix: their name by `input_of`, and the matrix's number in its tensor."""


class Statistic(Protocol):
    """Something about activations, summed over all tokens."""

    def add(self, x: np.ndarray) -> None:
        """Count activations (n, columns) f32, n > 0, in."""


_Statistic = TypeVar("_Statistic", bound=Statistic)


class Observer:
    """A `Watch` that adds activations to every statistic registered."""

    def __init__(self) -> None:
        self._registered: list[tuple[Callable[[int], Any], Callable[[Input], Input | None], dict[Input, Any]]] = []

    def collect(
        self, make: Callable[[int], _Statistic], key: Callable[[Input], Input | None] = lambda input_: input_
    ) -> dict[Input, _Statistic]:
        """A statistic for each input, filled from now on: `make` takes the number of columns.

        `key` says under which key an input is counted, None for one that is left out.
        """
        statistics: dict[Input, _Statistic] = {}
        self._registered.append((make, key, statistics))
        return statistics

    def __call__(self, name: str, number: int, x: np.ndarray) -> None:
        if not len(x):
            return
        for make, key, statistics in self._registered:
            counted = key((input_of(name), number))
            if counted is None:
                continue
            if counted not in statistics:
                statistics[counted] = make(x.shape[1])
            statistics[counted].add(x)


class Magnitudes:
    """The sum of magnitudes of each column, (columns,) f64."""

    def __init__(self, columns: int) -> None:
        self.total = np.zeros(columns)

    def add(self, x: np.ndarray) -> None:
        self.total += np.abs(x).sum(axis=0, dtype=np.float64)


class Largest:
    """The largest magnitude of each column, (columns,) f32."""

    def __init__(self, columns: int) -> None:
        self.largest = np.zeros(columns, np.float32)

    def add(self, x: np.ndarray) -> None:
        np.maximum(self.largest, np.abs(x).max(axis=0), out=self.largest)


class Squares:
    """How many activations there were, and the sums of their squares, (columns,) f64."""

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.total = np.zeros(columns)

    def add(self, x: np.ndarray) -> None:
        self.count += len(x)
        self.total += np.square(x, dtype=np.float64).sum(axis=0)


class NarrowMoments:
    """The sum of products of each two columns, (columns, columns), kept as f32: half the memory of `Moments`."""

    def __init__(self, columns: int, threads: int = 1) -> None:
        self.second, self._threads = np.zeros((columns, columns), np.float32), threads

    def add(self, x: np.ndarray) -> None:
        second = self.second.astype(np.float64)
        add_gram(second, x, threads=self._threads)
        self.second = second.astype(np.float32)


class Sample:
    """Some of the activations as they are: at most `size` of those that come at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.parts: list[np.ndarray] = []

    def add(self, x: np.ndarray) -> None:
        self.parts.append(x[:: -(-len(x) // self._size)].copy())


class Latest:
    """The activations that came last, (n, columns) f32."""

    x: np.ndarray

    def __init__(self, columns: int) -> None:
        self.x = np.empty((0, columns), np.float32)

    def add(self, x: np.ndarray) -> None:
        self.x = x.copy()


class ObservedLayers:
    """A model that reads a text layer by layer; between layers only the activations themselves are held."""

    def __init__(self, transformer: Transformer, chunks: np.ndarray) -> None:
        """`chunks` (n, context) of tokens. InputError when there are none, or one is not in the vocabulary."""
        self.runner = LayerRunner(transformer, chunks.shape[1])
        self.stream = self.runner.embed(chunks)
        """The input of the next layer, (n * context, width) f32."""
        self._next = 0

    def observe(self, observer: Observer, shown: Chosen = lambda name: True, stay: bool = False) -> None:
        """Take the text through the next layer, and show the observer what its tensors that are `shown` are given.

        The text is then behind the layer, unless it is to `stay` in front of it.
        """
        layer = observed_layer(self.runner.transformer.layers[self._next], observer, shown)
        self.runner.record(layer).run_all(self.stream.copy() if stay else self.stream)
        self._next += not stay
