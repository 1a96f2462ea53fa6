"""A model run one layer at a time over many sequences, whose activations are kept between layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.recorder import Tape
from quantize_cli.runtime.transformer import Transformer
from quantize_cli.runtime.turns import place_all

_TOKENS = 2048
"""Run at once, as whole sequences."""


@dataclass(frozen=True)
class Walk:
    """Takes sequences of equal length through the layers of a model, one layer after the other."""

    transformer: Transformer
    context: int
    """Tokens of a sequence."""

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (sequences, context) -> what the first layer is given, (sequences * context, width) f32."""
        stream = np.empty((tokens.size, self.transformer.hyperparameters.width), np.float32)
        for start, part in self.parts(stream):
            rows = slice(start // self.context, (start + len(part)) // self.context)
            part[:] = self.transformer.embed(tokens[rows], np.arange(self.context))
        return stream

    def parts(self, stream: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """What is run at once: where it starts, and the rows of the stream."""
        step = max(1, _TOKENS // self.context) * self.context
        for start in range(0, len(stream), step):
            yield start, stream[start : start + step]

    def through(self, layer: Layer, sequences: int) -> "Passage":
        """A recording that takes so many sequences at once through the layer."""
        return Passage(self, (layer,), sequences)

    def through_all(self, layers: Sequence[Layer], sequences: int) -> "Passage":
        """The same through several layers, which share the memory they work in."""
        return Passage(self, layers, sequences)


class Passage:
    """Layers recorded, to be run as often as there are parts of as many sequences."""

    def __init__(self, walk: Walk, layers: Sequence[Layer], sequences: int) -> None:
        transformer = walk.transformer
        sizes = replace(transformer.hyperparameters, layers=1)
        self._cache = Cache(sizes, walk.context, sequences)
        self._tape = Tape(transformer.threads)
        self.stream = np.empty((sequences * walk.context, sizes.width), np.float32)
        """What the layer adds to, as far as it has come."""
        turns = transformer.turns(walk.context)
        for layer in layers:  # each may overwrite what the one before it kept, as no token comes later
            transformer.record_layer(self._tape, layer, 0, self.stream, turns, self._cache)
        place_all(turns, np.arange(walk.context), walk.context)

    def run(self, part: np.ndarray) -> None:
        """Take activations (sequences * context, width) through the layers, in place."""
        self._cache.rewind(0)
        self.stream[:] = part
        self._tape.run()
        part[:] = self.stream
