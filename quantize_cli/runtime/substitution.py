"""Layers with other matrices: the one traversal of the parts of a layer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.runtime.layer import FeedForward, Layer, Linear
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.recorder import Part

Change = Callable[[Linear, int], Linear]
"""The replacement for a matrix, by its number in its tensor: an expert's, else 0."""


def with_linears(layer: Layer, change: Change) -> Layer:
    """The same layer with all its matrices changed, in the order in which a tensor of several holds them."""
    return replace(
        layer,
        query=change(layer.query, 0),
        key=change(layer.key, 0),
        value=change(layer.value, 0),
        attention_output=change(layer.attention_output, 0),
        feed_forward=_changed_part(layer.feed_forward, change),
    )


def _changed_part(part: Part, change: Change) -> Part:
    if isinstance(part, Mixture):
        return replace(
            part,
            router=change(part.router, 0),
            experts=tuple(_formed(expert, number, change) for number, expert in enumerate(part.experts)),
            shared=None if part.shared is None else _formed(part.shared, 0, change),
            shared_gate=None if part.shared_gate is None else change(part.shared_gate, 0),
        )
    assert isinstance(part, FeedForward)
    return _formed(part, 0, change)


def _formed(part: FeedForward, number: int, change: Change) -> FeedForward:
    gate = None if part.gate is None else change(part.gate, number)
    return replace(part, gate=gate, up=change(part.up, number), down=change(part.down, number))


def tensor_names(layer: Layer) -> tuple[str, ...]:
    """The tensors whose matrices the layer multiplies with, each once."""
    return tuple({tensor.name: None for tensor in tensors(layer)})


def tensors(layer: Layer) -> list[Tensor]:
    """What the layer multiplies with, of a tensor of several matrices each by itself."""
    all_tensors: list[Tensor] = []

    def note(linear: Linear, number: int) -> Linear:
        all_tensors.append(linear.matrix.tensor)
        return linear

    with_linears(layer, note)
    return all_tensors


def with_weights(layer: Layer, name: str, weights: np.ndarray) -> Layer:
    """The same layer with other weights (rows, columns) f32 in the tensor `name`, fused or stacked as it may be."""
    taken = 0

    def change(linear: Linear, number: int) -> Linear:
        nonlocal taken
        tensor = linear.matrix.tensor
        if tensor.name != name:
            return linear
        rows = weights[taken : taken + tensor.row_count]
        taken += tensor.row_count
        return replace(linear, matrix=Matrix(from_array(name, rows)))

    return with_linears(layer, change)
