"""The last matrix of attention or of a feed-forward, applied to inputs that were kept while it was rounded."""

from collections.abc import Callable, Iterator

import numpy as np

from quantize_cli.runtime.kernels import elementwise
from quantize_cli.runtime.layer import FeedForward, Layer, Linear, Norm
from quantize_cli.runtime.recorder import Recorder
from quantize_cli.runtime.transformer import Transformer

_KEPT_NBYTES = 1 << 29
"""Inputs kept at most: 5,632 columns of 23,000 tokens. Those of later tokens are computed once more."""

Ending = tuple[Linear, Norm | None]
"""The last matrix of a half of a layer, and the norm behind it."""


def end_of_attention(layer: Layer) -> Ending | None:
    return layer.attention_output, layer.attention_post_norm


def end_of_feed_forward(layer: Layer) -> Ending | None:
    """None where experts take turns."""
    part = layer.feed_forward
    return (part.down, layer.feed_forward_post_norm) if isinstance(part, FeedForward) else None


class KeptInputs:
    """What a last matrix is given, part by part of the text, as far as there is room."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._left = _KEPT_NBYTES

    def add(self, x: np.ndarray) -> None:
        """Keep what the matrix is given for the next part, (n, columns) f32, if that and all before have room."""
        if x.nbytes > self._left:
            self._left = 0
            return
        self._left -= x.nbytes
        self._parts.append(x)

    def finish(
        self, transformer: Transformer, ending: Ending, streams: Iterator[np.ndarray], run: Callable[[np.ndarray], None]
    ) -> None:
        """Add what the matrix makes of them to the stream's parts (n, width), in place.

        `run` takes a part of which nothing was kept through all that comes before the matrix, and through that.
        """
        recordings: dict[int, tuple[Recorder, np.ndarray, np.ndarray]] = {}
        for number, stream in enumerate(streams):
            if number >= len(self._parts):
                run(stream)
                continue
            x, self._parts[number] = self._parts[number], np.empty(0, np.float32)
            if len(x) not in recordings:
                recordings[len(x)] = _recorded(transformer, ending, x, stream.shape[1])
            recorder, given, total = recordings[len(x)]
            given[:], total[:] = x, stream
            recorder.run()
            stream[:] = total


def _recorded(
    transformer: Transformer, ending: Ending, x: np.ndarray, width: int
) -> tuple[Recorder, np.ndarray, np.ndarray]:
    """A recording, and where its inputs and the stream are put."""
    (last, norm), recorder = ending, Recorder(transformer.threads, transformer.bfloat16)
    given, stream = np.empty_like(x), np.empty((len(x), width), np.float32)
    formed = last.record(recorder, given)
    recorder.add(elementwise.add, y=stream, x=formed if norm is None else norm.record(recorder, formed))
    return recorder, given, stream
