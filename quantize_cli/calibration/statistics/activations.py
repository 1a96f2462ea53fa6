"""What a float model's matrices are given on a text, found layer by layer: sizes by column, and second moments."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from quantize_cli.calibration.folding.folding import Input
from quantize_cli.errors import InputError
from quantize_cli.jit.matrices import add_gram
from quantize_cli.machine import processors
from quantize_cli.model.source import Model
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import Passage, Walk
from quantize_cli.runtime.transformer import from_model
from quantize_cli.runtime.watch import watched_layer


@dataclass
class Activations:
    """What one matrix was given: sums over all its tokens."""

    columns: int
    count: int = 0
    """Tokens."""
    total: np.ndarray = field(init=False)
    """The sum of magnitudes of each column, (columns,) f64."""
    largest: np.ndarray = field(init=False)
    """The largest magnitude of each column, (columns,) f32."""
    moment: np.ndarray | None = None
    """The sum of products of each two columns, (columns, columns) f64; None unless it was asked for."""

    def __post_init__(self) -> None:
        self.total = np.zeros(self.columns)
        self.largest = np.zeros(self.columns, np.float32)

    def add(self, x: np.ndarray, with_moment: bool) -> None:
        """Count activations (n, columns) f32."""
        if not len(x):
            return
        magnitudes = np.abs(x)
        self.count += len(x)
        self.total += magnitudes.sum(axis=0, dtype=np.float64)
        np.maximum(self.largest, magnitudes.max(axis=0), out=self.largest)
        if with_moment:
            if self.moment is None:
                self.moment = np.zeros((self.columns, self.columns))
            add_gram(self.moment, x, threads=processors())


Seen = dict[Input, Activations]


class Calibration:
    """Takes a text through a float model; between layers only the activations themselves are held."""

    def __init__(self, model: Model, chunks: np.ndarray) -> None:
        """`chunks` (n, context) of tokens. InputError when there are none, or one is not in the vocabulary."""
        self._transformer = from_model(model)
        if not chunks.size:
            raise InputError("there are no tokens to calibrate on")
        unknown = chunks[(chunks < 0) | (chunks >= self._transformer.vocabulary)]
        if unknown.size:
            raise InputError(f"token {unknown[0]} is not in a vocabulary of {self._transformer.vocabulary}")
        self._walk = Walk(self._transformer, chunks.shape[1])
        self._stream = self._walk.embed(chunks)
        self._next = 0

    @property
    def threads(self) -> int:
        return self._transformer.threads.count

    def look(self, moments: Collection[Input] = (), stay: bool = False) -> Seen:
        """What each matrix of the next layer is given, with the moments of some.

        Then the text is behind that layer, unless it is to `stay` in front of it.
        """
        seen: Seen = {}

        def watch(name: str, number: int, x: np.ndarray) -> None:
            key = name, number
            seen.setdefault(key, Activations(x.shape[1])).add(x, key in moments)

        layer = watched_layer(self._transformer.layers[self._next], watch)
        for passage, part in self._passages(layer):
            passage.run(part.copy() if stay else part)
        self._next += not stay
        return seen

    def _passages(self, layer: Layer) -> Iterator[tuple[Passage, np.ndarray]]:
        """Each part of the stream, and a recording of the layer for as many sequences."""
        recorded: dict[int, Passage] = {}
        for _, part in self._walk.parts(self._stream):
            sequences = len(part) // self._walk.context
            if sequences not in recorded:
                recorded[sequences] = self._walk.through(layer, sequences)
            yield recorded[sequences], part
