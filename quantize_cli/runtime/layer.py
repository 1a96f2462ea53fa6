"""One block of a decoder: the pieces, each of which records what it does with activations (n, columns) f32."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.kernels import elementwise, norm
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.recorder import Part, Recorder

_NOTHING = np.empty(0, np.float32)


@dataclass(frozen=True)
class Norm:
    """Each row scaled to unit root mean square, or to unit variance around zero if it `centres`."""

    weight: np.ndarray
    bias: np.ndarray | None
    epsilon: float
    centres: bool
    is_idle: bool = False
    """It stands where other models norm, and gives what it is given."""

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        if self.is_idle:
            return x
        out = recorder.array(*x.shape)
        bias = _NOTHING if self.bias is None else self.bias
        recorder.add(norm.norm, x=x, weight=self.weight, bias=bias, y=out, epsilon=self.epsilon, centres=self.centres)
        return out

    def record_in_place(self, recorder: Recorder, x: np.ndarray) -> None:
        """The same, written over what it is given."""
        bias = _NOTHING if self.bias is None else self.bias
        recorder.add(norm.norm, x=x, weight=self.weight, bias=bias, y=x, epsilon=self.epsilon, centres=self.centres)


@dataclass(frozen=True)
class Linear:
    """A matrix, what its product is multiplied by, and perhaps a bias (rows,) f32."""

    matrix: Product
    bias: np.ndarray | None
    scale: float = 1.0
    """Of all weights, which blocks of NVFP4 made elsewhere do not hold."""

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        out = self.matrix.record(recorder, x)
        if self.scale != 1:
            recorder.add(elementwise.scale, y=out, factor=self.scale)
        if self.bias is not None:
            recorder.add(elementwise.add_row, y=out, row=self.bias)
        return out


@dataclass(frozen=True)
class FeedForward:
    """act(gate) * up, or gelu(up) without a gate, brought down to the width again."""

    gate: Linear | None
    up: Linear
    down: Linear
    gelu: bool
    """The activation is GELU rather than SiLU."""
    exact: bool = False
    """GELU by the error function rather than the tanh formula."""

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        up = self.up.record(recorder, x)
        if self.gate is None:
            recorder.add(elementwise.exact_gelu if self.exact else elementwise.gelu, y=up)
        else:
            gelu = elementwise.gate_exact_gelu if self.exact else elementwise.gate_gelu
            gated = gelu if self.gelu else elementwise.gate_silu
            recorder.add(gated, up=up, gate=self.gate.record(recorder, x))
        return self.down.record(recorder, up)


@dataclass(frozen=True)
class Layer:
    """The parts of one block, in the order they act."""

    attention_norm: Norm
    query: Linear
    key: Linear
    value: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    attention_output: Linear
    attention_post_norm: Norm | None
    feed_forward_norm: Norm
    feed_forward: Part
    """A `FeedForward`, or a mixture of them."""
    feed_forward_post_norm: Norm | None
    window: int
    """The last positions that attention sees; 0 for all."""
    rotates: bool = True
    is_parallel: bool = False
    """The feed-forward reads the stream as it was before attention was added."""
