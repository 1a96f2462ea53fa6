"""Runs a model with other weights in one tensor, from where that tensor is, and says what its predictions lost."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.evaluation.score import compare
from quantize_cli.formats.reference import Rows
from quantize_cli.model.tensor import from_array
from quantize_cli.runtime.layer import Layer, Linear
from quantize_cli.runtime.layer_runner import Passage, Walk
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.recorder import applied
from quantize_cli.runtime.substitution import exchanged
from quantize_cli.runtime.transformer import Transformer

_KEPT_LOGITS = 1 << 28
"""1 GiB. Up to so many of the unchanged model are kept, beyond that they are computed again each time."""
_LOGITS = 1 << 25
"""Compared at once."""

Loss = Callable[[str, np.ndarray], float]
"""The mean KL divergence, over all positions, of the model with other weights (rows, columns) f32 in one tensor."""


class Trials:
    """A model, the tokens (sequences, context) it is tried on, and what it predicts as it is."""

    def __init__(self, transformer: Transformer, tokens: np.ndarray, sequences: int | None = None) -> None:
        """It is tried on the first `sequences`, all unless told."""
        _check(transformer, tokens)
        self.transformer = transformer
        self.walk = Walk(transformer, tokens.shape[1])
        self._tokens = tokens[:sequences]
        self.outcome = self._finished(self.walk.embed(tokens), [self.route(transformer.layers)])
        """What the output matrix is given for all tokens, (sequences * context, width) f32."""
        self.hidden = self.outcome[: self._tokens.size]
        self._logits: np.ndarray | None = None
        if self._tokens.size * transformer.vocabulary <= _KEPT_LOGITS:
            self._logits = np.concatenate([part for _, part in self._projected()])

    def route(self, layers: Sequence[Layer]) -> "Route":
        return Route(self.walk, layers)

    def of_embedding(self, name: str, weights: np.ndarray) -> float:
        """A `Loss` for the token embedding, which may be the output matrix too."""
        matrix = Matrix(from_array(name, weights))
        other = replace(self._with_output(matrix) if self.is_tied else self.transformer, embedding=matrix)
        stream = Walk(other, self.walk.context).embed(self._tokens)
        return self._divergence(self._finished(stream, [self.route(self.transformer.layers)]), other)

    def of_output(self, name: str, weights: np.ndarray) -> float:
        """A `Loss` for an output matrix of its own."""
        return self._divergence(self.hidden, self._with_output(Matrix(from_array(name, weights))))

    def of_layer(self, index: int, stream: np.ndarray) -> Loss:
        """A `Loss` for the tensors of a layer, which is given `stream` (sequences * context, width)."""
        stream = stream[: self._tokens.size]
        rest = self.route(self.transformer.layers[index + 1 :])

        def loss(name: str, weights: np.ndarray) -> float:
            other = exchanged(self.transformer.layers[index], name, weights)
            return self._divergence(self._finished(stream.copy(), [self.route([other]), rest]), self.transformer)

        return loss

    @property
    def is_tied(self) -> bool:
        return self.transformer.output.matrix is self.transformer.embedding

    def _with_output(self, matrix: Matrix) -> Transformer:
        output = Linear(matrix, self.transformer.output.bias)
        return replace(self.transformer, output=output, _passes={}, _spares=[], _projections={})

    def _finished(self, stream: np.ndarray, routes: Sequence["Route"]) -> np.ndarray:
        """What the stream becomes, in place: hidden states behind the last norm."""
        for _, part in self.walk.parts(stream):
            for route in routes:
                route.run(part)
            part[:] = applied(self.transformer.norm, part, self.transformer.threads)
        return stream

    def _divergence(self, hidden: np.ndarray, other: Transformer) -> float:
        total = 0.0
        for start, base in self._projected():
            logits = other.project(hidden[start : start + len(base)])
            _, against = compare(logits, Rows(base), np.zeros(len(base), np.int64))
            total += float(against.divergence.sum())
        if not np.isfinite(total):
            raise InputError("the model's logits are not finite: its weights, or a type they are stored in, overflow")
        return max(total, 0.0) / len(hidden)

    def _projected(self) -> Iterator[tuple[int, np.ndarray]]:
        """The unchanged model's logits in parts, and where each starts."""
        step = max(1, _LOGITS // self.transformer.vocabulary)
        for start in range(0, len(self.hidden), step):
            part = slice(start, start + step)
            kept = self._logits
            yield start, self.transformer.project(self.hidden[part]) if kept is None else kept[part]


class Route:
    """Layers recorded for each number of sequences that comes."""

    def __init__(self, walk: Walk, layers: Sequence[Layer]) -> None:
        self._walk, self._layers = walk, layers
        self._recorded: dict[int, Passage] = {}

    def run(self, part: np.ndarray) -> None:
        """Take activations (sequences * context, width) through the layers, in place."""
        if not self._layers:
            return
        sequences = len(part) // self._walk.context
        if sequences not in self._recorded:
            self._recorded[sequences] = self._walk.through_all(self._layers, sequences)
        self._recorded[sequences].run(part)


def _check(transformer: Transformer, tokens: np.ndarray) -> None:
    """InputError for tokens or positions that the model does not have."""
    if tokens.ndim != 2 or not tokens.size:
        raise InputError(f"tokens of shape {tokens.shape} are not sequences to run a model on")
    if tokens.min() < 0 or tokens.max() >= transformer.vocabulary:
        raise InputError(f"tokens from {tokens.min()} to {tokens.max()}, the vocabulary has {transformer.vocabulary}")
    positions = transformer.positions
    if positions is not None and tokens.shape[1] > positions.tensor.row_count:
        raise InputError(f"the model has {positions.tensor.row_count} positions, {tokens.shape[1]} are needed")
