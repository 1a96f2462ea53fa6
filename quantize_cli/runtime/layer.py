"""One block of a decoder: the pieces, each a function of activations (n, width) f32."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.matrix import Matrix

_LOWEST = np.float32(-80)
"""Below this a sigmoid is zero anyway; the bound keeps exp from overflowing."""


@dataclass(frozen=True)
class Norm:
    """Each row scaled to unit root mean square, or to unit variance around zero if it `centres`."""

    weight: np.ndarray
    bias: np.ndarray | None
    epsilon: float
    centres: bool

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        if self.centres:
            activations = activations - activations.mean(axis=-1, keepdims=True)
        square = np.mean(activations * activations, axis=-1, keepdims=True)
        normed: np.ndarray = activations * (1 / np.sqrt(square + np.float32(self.epsilon))) * self.weight
        return normed if self.bias is None else normed + self.bias


@dataclass(frozen=True)
class Linear:
    """A matrix and perhaps a bias (rows,) f32."""

    matrix: Matrix
    bias: np.ndarray | None

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        product = self.matrix.apply(activations)
        if self.bias is not None:
            product += self.bias
        return product


@dataclass(frozen=True)
class FeedForward:
    """act(gate) * up, or act(up) without a gate, brought down to the width again."""

    gate: Linear | None
    up: Linear
    down: Linear
    act: Callable[[np.ndarray], np.ndarray]
    gate_in_up: bool = False
    """The gate is the first half of what goes up."""

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        up = self.up(activations)
        if self.gate_in_up:
            gate, up = np.split(up, 2, axis=-1)
            return self.down(self.act(gate) * up)
        if self.gate is None:
            return self.down(self.act(up))
        up *= self.act(self.gate(activations))
        return self.down(up)


@dataclass(frozen=True)
class Layer:
    """The parts of one block, in the order they act."""

    attention_norm: Norm
    projections: tuple[Linear, ...]
    """Query, key and value; or one whose rows are all three."""
    query_norm: Norm | None
    key_norm: Norm | None
    attention_output: Linear
    attention_post_norm: Norm | None
    feed_forward_norm: Norm
    feed_forward: Callable[[np.ndarray], np.ndarray]
    """A `FeedForward`, or a mixture of them."""
    feed_forward_post_norm: Norm | None
    window: int
    """The last positions that attention sees; 0 for all."""


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    gated: np.ndarray = x / (1 + np.exp(-np.maximum(x, _LOWEST)))
    return gated


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    share: np.ndarray = 1 / (1 + np.exp(-np.maximum(x, _LOWEST)))
    return share


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form ("gelu_new"), which ggml's GELU is."""
    inner = np.float32(np.sqrt(2 / np.pi)) * x * (1 + np.float32(0.044715) * x * x)
    gated: np.ndarray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gated
