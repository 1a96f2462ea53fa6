"""One block of a decoder: the pieces, each a function of activations (n, width) f32."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.matrix import Matrix


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
    """silu(gate) * up, or gelu(up) without a gate, brought down to the width again."""

    gate: Linear | None
    up: Linear
    down: Linear

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        up = self.up(activations)
        if self.gate is None:
            return self.down(_gelu(up))
        up *= _silu(self.gate(activations))
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
    feed_forward_norm: Norm
    feed_forward: FeedForward


def _silu(x: np.ndarray) -> np.ndarray:
    # Below -80 the result is zero anyway; the bound keeps exp from overflowing.
    gated: np.ndarray = x / (1 + np.exp(-np.maximum(x, np.float32(-80))))
    return gated


def _gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form ("gelu_new"), which ggml's GELU is."""
    inner = np.float32(np.sqrt(2 / np.pi)) * x * (1 + np.float32(0.044715) * x * x)
    gated: np.ndarray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gated
