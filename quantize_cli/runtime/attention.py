"""Attention of one layer, recorded: projections, norms of heads, rotation, the cache, and the mix of values."""

import numpy as np

from quantize_cli.runtime.adjustments import slopes
from quantize_cli.runtime.hyperparameters import Hyperparameters
from quantize_cli.runtime.kernels import attend, elementwise, keep, rotate
from quantize_cli.runtime.layer import Layer, Norm
from quantize_cli.runtime.recorder import Recorder
from quantize_cli.runtime.recording import Recording


def record_mix(sizes: Hyperparameters, recording: Recording, layer: Layer, index: int, x: np.ndarray) -> np.ndarray:
    """Record what attention makes of normed activations (sequences * n, width), which is as large.

    `index` is the layer's in the cache.
    """
    recorder, cache, width = recording.recorder, recording.cache, sizes.head_width
    queries, keys, values = _projected(sizes, recorder, layer, x)
    if layer.query_norm is not None and layer.key_norm is not None:
        queries = _normed(recorder, layer.query_norm, queries)
        keys = _normed(recorder, layer.key_norm, keys)
    if recording.turns and layer.rotates:
        turn = recording.turns[layer.window > 0]
        turned = rotate.rotate_adjacent if turn.rotary.adjacent_pairs else rotate.rotate_halves
        recorder.add(turned, vectors=queries, cosines=turn.cosines, sines=turn.sines, width=width)
        recorder.add(turned, vectors=keys, cosines=turn.cosines, sines=turn.sines, width=width, beside=True)
    all_keys, all_values = cache.keys[index], cache.values[index]
    recorder.add(keep.keep, keys=keys, values=values, all_keys=all_keys, all_values=all_values, stored=cache.cell)
    out = recorder.array(*queries.shape)
    scratch = recorder.array(recorder.threads.count, attend.scratch_columns(cache.keys.shape[2], width))
    recorder.add(
        attend.attend, queries=queries, all_keys=all_keys, all_values=all_values, stored=cache.cell, out=out,
        scratch=scratch, scale=sizes.score_scale, cap=sizes.score_cap, window=layer.window,
        sequences=cache.sequences, slopes=slopes(sizes.heads, sizes.adjustments.alibi), ahead=not sizes.causal,
    )  # fmt: skip
    return layer.attention_output.record(recorder, out)


def _projected(sizes: Hyperparameters, recorder: Recorder, layer: Layer, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Queries, keys and values, clipped where the model clips them."""
    projected = tuple(part.record(recorder, x) for part in (layer.query, layer.key, layer.value))
    if bound := sizes.adjustments.clamp:
        for part in projected:
            recorder.add(elementwise.clamp, y=part, bound=bound)
    return projected


def _normed(recorder: Recorder, norm: Norm, x: np.ndarray) -> np.ndarray:
    """Each head normed by itself, or all heads at once, as the norm is wide."""
    return norm.record(recorder, x.reshape(-1, norm.weight.size)).reshape(x.shape)
