"""A model run one layer at a time over many sequences, whose activations are kept between layers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.recorder import Recordings, apply_part
from quantize_cli.runtime.rotary_tables import fill_tables
from quantize_cli.runtime.transformer import Recording, Transformer

_TOKENS = 2048
"""Run at once, as whole sequences."""

RecordLayer = Callable[[Transformer, Recording, Layer], None]
"""What is recorded of a layer: `Transformer.record_layer`, or a part of it."""


@dataclass(frozen=True)
class LayerRunner:
    """Takes sequences of equal length through the layers of a model, one layer after the other."""

    transformer: Transformer
    context: int
    """Tokens of a sequence."""

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (sequences, context) -> what the first layer is given, (sequences * context, width) f32.

        InputError for tokens and positions that the model does not have.
        """
        self.transformer.check_tokens(tokens, self.context)
        stream = np.empty((tokens.size, self.transformer.hyperparameters.width), np.float32)
        for part, ids in self.parts(stream, tokens.reshape(-1)):
            part[:] = self.transformer.embed(ids.reshape(-1, self.context), np.arange(self.context))
        return stream

    def parts(self, *streams: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """What is run at once: the same rows of each stream, whole sequences, as views."""
        step = max(1, _TOKENS // self.context) * self.context
        for start in range(0, len(streams[0]), step):
            yield tuple(stream[start : start + step] for stream in streams)

    def record(self, *layers: Layer, record: RecordLayer = Transformer.record_layer) -> "RecordedLayers":
        """Layers, or a part of each, to be run one after the other."""
        return RecordedLayers(self, layers, record)

    def finish(self, stream: np.ndarray) -> None:
        """Make of what the last layer gives, in place, what the output matrix is given."""
        for (part,) in self.parts(stream):
            part[:] = apply_part(self.transformer.norm, part, self.transformer.threads)


class RecordedLayers:
    """Layers that share the memory they work in, recorded once for each number of sequences that comes."""

    def __init__(self, runner: LayerRunner, layers: tuple[Layer, ...], record: RecordLayer) -> None:
        self._runner, self._layers, self._record_layer = runner, layers, record
        self._recordings: Recordings[int, Recording] = Recordings()

    def run(self, part: np.ndarray) -> None:
        """Take activations (sequences * context, width) through the layers, in place."""
        recording = self._recordings.get(len(part) // self._runner.context, self._record)
        recording.cache.rewind(0)
        recording.stream[:] = part
        recording.recorder.run()
        part[:] = recording.stream

    def run_all(self, stream: np.ndarray) -> None:
        """The same with any number of sequences, some at a time."""
        for (part,) in self._runner.parts(stream):
            self.run(part)

    def _record(self, sequences: int) -> Recording:
        transformer, context = self._runner.transformer, self._runner.context
        sizes = replace(transformer.hyperparameters, layers=1)
        recording = transformer.new_recording(Cache(sizes, context, sequences), context)
        for layer in self._layers:  # each may overwrite what the one before it kept, as no token comes later
            self._record_layer(transformer, recording, layer)
        fill_tables(recording.turns, np.arange(context), context)
        return recording
