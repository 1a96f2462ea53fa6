"""Causal attention with grouped heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.hyperparameters import Hyperparameters
from quantize_cli.runtime.layer import Layer
from quantize_cli.train.decoder.normalization import optional
from quantize_cli.train.decoder.projection import Projection, Projections
from quantize_cli.train.decoder.rotary import Turning
from quantize_cli.train.decoder.weights import Weights


class Attention(nn.Module):
    """Each position mixes the values of those it sees: its own, and earlier ones up to the window."""

    def __init__(self, layer: Layer, sizes: Hyperparameters) -> None:
        super().__init__()
        self.head_width, self.repeats = sizes.head_width, sizes.heads // sizes.key_value_heads
        self.scale, self.cap, self.window = sizes.score_scale, sizes.score_cap, layer.window
        self.inputs = Projections((layer.query, layer.key, layer.value))
        self.query_norm, self.key_norm = optional(layer.query_norm), optional(layer.key_norm)
        self.output = Projection(layer.attention_output)

    def forward(self, x: Tensor, turn: Turning | None, weights: Weights) -> Tensor:
        """Normed activations (sequences, n, width) -> what is added to the stream, of the same shape."""
        query, key, value = (part.unflatten(-1, (-1, self.head_width)) for part in self.inputs(x, weights))
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = turn(query), turn(key)
        mixed = self._mix(*(part.transpose(1, 2) for part in (query, key, value)))
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2), weights)
        return out

    def _mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(sequences, heads, n, head width) of each, with fewer heads of keys and values -> like the query."""
        if self.repeats > 1:
            key, value = (part.repeat_interleave(self.repeats, dim=1) for part in (key, value))
        count = query.shape[2]
        windowed = 0 < self.window < count
        if self.cap:
            return self._mix_capped(query, key, value)
        seen = _seen(count, self.window, query.device) if windowed else None
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, is_causal=not windowed, scale=self.scale
        )

    def _mix_capped(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """With scores bent to stay below a cap, which no fused operation of torch does; in float32."""
        scores = (query @ key.transpose(2, 3)).float() * self.scale
        scores = torch.tanh(scores / self.cap) * self.cap
        seen = _seen(query.shape[2], self.window, query.device)
        shares = torch.softmax(scores.masked_fill(~seen, float("-inf")), dim=-1)
        return shares.to(value.dtype) @ value


def _seen(count: int, window: int, device: torch.device) -> Tensor:
    """Which keys a query sees, (n queries, n keys) bool: none that come later, none before its window."""
    positions = torch.arange(count, device=device)
    distance = positions[:, None] - positions
    return (distance >= 0) & (distance < (window or count))
