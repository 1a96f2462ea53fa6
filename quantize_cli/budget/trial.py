"""Runs a model with other weights in one tensor, from where that tensor is, and says what its predictions lost."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.evaluation.score import compare
from quantize_cli.formats.reference import Predictions
from quantize_cli.model.tensor import from_array
from quantize_cli.runtime.layer_runner import LayerRunner, RecordedLayers
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.substitution import with_weights
from quantize_cli.runtime.transformer import Transformer

_KEPT_LOGITS = 1 << 28
"""1 GiB. Up to so many of the unchanged model are kept, beyond that they are computed again each time."""
_LOGITS = 1 << 22
"""Made and compared at once: 16 MiB of float32, of which several are needed."""

Loss = Callable[[str, np.ndarray], float]
"""The mean KL divergence, over all positions, of the model with other weights (rows, columns) f32 in one tensor."""


class Trials:
    """A model, the tokens (sequences, context) it is tried on, and what it predicts as it is."""

    def __init__(self, transformer: Transformer, tokens: np.ndarray) -> None:
        self.transformer, self.tokens = transformer, tokens
        self.runner = LayerRunner(transformer, tokens.shape[1])
        self.hidden = self._finished(self.runner.embed(tokens), self.runner.record(*transformer.layers))
        """What the output matrix is given for all tokens, (sequences * context, width) f32."""
        self._logits: np.ndarray | None = None
        if tokens.size * transformer.vocabulary <= _KEPT_LOGITS:
            self._logits = np.concatenate([part for _, part in self._projected()])

    def of_embedding(self, name: str, weights: np.ndarray) -> float:
        """A `Loss` for the token embedding, which may be the output matrix too."""
        matrix = Matrix(from_array(name, weights))
        other = replace(self._with_output(matrix) if self.is_tied else self.transformer, embedding=matrix)
        stream = LayerRunner(other, self.runner.context).embed(self.tokens)
        return self._divergence(self._finished(stream, self.runner.record(*self.transformer.layers)), other)

    def of_output(self, name: str, weights: np.ndarray) -> float:
        """A `Loss` for an output matrix of its own."""
        return self._divergence(self.hidden, self._with_output(Matrix(from_array(name, weights))))

    def of_layer(self, index: int, stream: np.ndarray) -> Loss:
        """A `Loss` for the tensors of a layer, which is given `stream` (sequences * context, width)."""
        rest = self.runner.record(*self.transformer.layers[index + 1 :])

        def loss(name: str, weights: np.ndarray) -> float:
            other = with_weights(self.transformer.layers[index], name, weights)
            return self._divergence(self._finished(stream.copy(), self.runner.record(other), rest), self.transformer)

        return loss

    @property
    def is_tied(self) -> bool:
        return self.transformer.output.matrix is self.transformer.embedding

    def _with_output(self, matrix: Matrix) -> Transformer:
        output = replace(self.transformer.output, matrix=matrix)
        return replace(self.transformer, output=output)

    def _finished(self, stream: np.ndarray, *recorded: RecordedLayers) -> np.ndarray:
        """What the stream becomes, in place: hidden states behind the last norm."""
        for layers in recorded:
            layers.run_all(stream)
        self.runner.finish(stream)
        return stream

    def _divergence(self, hidden: np.ndarray, other: Transformer) -> float:
        found = []
        for start, base in self._projected():
            logits = other.project(hidden[start : start + len(base)])
            _, against = compare(logits, Predictions(base), np.zeros(len(base), np.int64))
            found.append(against.divergence)
        total = float(np.concatenate(found).sum())
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
