"""The runtime's decoder in torch, so that gradients flow: the same tensors, hyperparameters and order of operations.

Weights are asked for by name when they are used. Whoever trains puts in their place what a file would hold of them.
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.hyperparameters import Hyperparameters
from quantize_cli.runtime.layer import FeedForward, Layer, Linear, Norm
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.rotary import Rotary
from quantize_cli.runtime.transformer import Transformer
from quantize_cli.train.decoder.weights import Rows, Weights, multiply

__all__ = ["Decoder", "Weights"]


class Projection(nn.Module):
    """x (..., columns) -> (..., rows); the bias is trained where biases are."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        assert isinstance(linear.matrix, Matrix)
        tensor = linear.matrix.tensor
        self.rows = Rows(tensor.name, tensor.first_row, tensor.row_count)
        self.bias = None if linear.bias is None else _vector(linear.bias)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        product = multiply(self.rows, x, weights)
        return product if self.bias is None else product + self.bias


class Normalization(nn.Module):
    """RMS norm, or layer norm where the family centres."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight = _vector(norm.weight)
        self.bias = None if norm.bias is None else _vector(norm.bias)
        self.epsilon, self.centres = norm.epsilon, norm.centres

    def forward(self, x: Tensor) -> Tensor:
        if self.centres:
            return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)
        scaled = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight
        return scaled if self.bias is None else scaled + self.bias


class GatedUnit(nn.Module):
    """act(gate) * up, or act(up), brought down to the width again."""

    def __init__(self, parts: FeedForward) -> None:
        super().__init__()
        self.gate = None if parts.gate is None else Projection(parts.gate)
        self.up, self.down, self.gelu = Projection(parts.up), Projection(parts.down), parts.gelu

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        up = self.up(x, weights)
        if self.gate is None:
            return self.down(functional.gelu(up, approximate="tanh"), weights)
        gate = self.gate(x, weights)
        active = functional.gelu(gate, approximate="tanh") if self.gelu else functional.silu(gate)
        return self.down(active * up, weights)


class Experts(nn.Module):
    """A mixture of feed-forwards: each token goes to the few of largest probability."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.router = Projection(mixture.router)
        self.experts = nn.ModuleList(GatedUnit(expert) for expert in mixture.experts)
        self.used, self.normalized = mixture.used, mixture.normalized
        self.shared = None if mixture.shared is None else GatedUnit(mixture.shared)
        self.shared_gate = None if mixture.shared_gate is None else Projection(mixture.shared_gate)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        probability = torch.softmax(self.router(flat, weights), dim=-1)
        share, chosen = probability.topk(self.used, dim=-1)
        if self.normalized:
            share = share / share.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            token, slot = (chosen == number).nonzero(as_tuple=True)
            if len(token):
                out = out.index_add(0, token, expert(flat[token], weights) * share[token, slot, None])
        if self.shared is not None and self.shared_gate is not None:
            out = out + torch.sigmoid(self.shared_gate(flat, weights)) * self.shared(flat, weights)
        return out.reshape(x.shape)


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the stream."""

    def __init__(self, layer: Layer, sizes: Hyperparameters) -> None:
        super().__init__()
        self.sizes, self.window = sizes, layer.window
        self.attention_norm, self.feed_forward_norm = (
            Normalization(layer.attention_norm),
            Normalization(layer.feed_forward_norm),
        )
        self.query, self.key, self.value = (Projection(part) for part in (layer.query, layer.key, layer.value))
        self.query_norm, self.key_norm = _optional(layer.query_norm), _optional(layer.key_norm)
        self.attention_output = Projection(layer.attention_output)
        self.attention_post_norm = _optional(layer.attention_post_norm)
        self.feed_forward_post_norm = _optional(layer.feed_forward_post_norm)
        part = layer.feed_forward
        self.feed_forward = Experts(part) if isinstance(part, Mixture) else GatedUnit(part)

    def forward(self, stream: Tensor, turns: "Turning | None", weights: Weights) -> Tensor:
        """Stream (sequences, n, width) -> the same after this layer."""
        mixed = self._attention(self.attention_norm(stream), turns, weights)
        stream = stream + (mixed if self.attention_post_norm is None else self.attention_post_norm(mixed))
        formed = self.feed_forward(self.feed_forward_norm(stream), weights)
        return stream + (formed if self.feed_forward_post_norm is None else self.feed_forward_post_norm(formed))

    def _attention(self, x: Tensor, turns: "Turning | None", weights: Weights) -> Tensor:
        sizes, (sequences, count, _) = self.sizes, x.shape
        query, key, value = (
            part(x, weights).view(sequences, count, -1, sizes.head_width) for part in (self.query, self.key, self.value)
        )
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if turns is not None:
            query, key = turns(query), turns(key)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        repeats = sizes.heads // sizes.key_value_heads
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        scores = query @ key.transpose(2, 3) * sizes.score_scale
        if sizes.score_cap:
            scores = torch.tanh(scores / sizes.score_cap) * sizes.score_cap
        scores = scores.masked_fill(_hidden(count, self.window, x.device), float("-inf"))
        out = torch.softmax(scores, -1) @ value
        return self.attention_output(out.transpose(1, 2).reshape(sequences, count, -1), weights)


class Turning(nn.Module):
    """Rotary position embedding of the first columns of heads."""

    def __init__(self, rotary: Rotary, count: int) -> None:
        super().__init__()
        turns = rotary.turns(np.arange(count), count)
        self.register_buffer("cosine", torch.from_numpy(turns.real.copy())[:, None, :], persistent=False)
        self.register_buffer("sine", torch.from_numpy(turns.imag.copy())[:, None, :], persistent=False)
        self.adjacent = rotary.adjacent_pairs

    def forward(self, heads: Tensor) -> Tensor:
        """Heads (sequences, n, heads, head width) turned by their positions."""
        pairs = self.cosine.shape[-1]
        turned, kept = heads[..., : 2 * pairs], heads[..., 2 * pairs :]
        first, second = (turned[..., ::2], turned[..., 1::2]) if self.adjacent else turned.split(pairs, dim=-1)
        rotated = first * self.cosine - second * self.sine, first * self.sine + second * self.cosine
        joined = torch.stack(rotated, -1).flatten(-2) if self.adjacent else torch.cat(rotated, -1)
        return torch.cat([joined, kept], -1)


class Decoder(nn.Module):
    """A decoder whose matrices are given from outside; norms and biases are its own parameters."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.sizes = transformer.hyperparameters
        self.embedding_name = transformer.embedding.tensor.name
        self.positions_name = None if transformer.positions is None else transformer.positions.tensor.name
        self.rotary, self.local_rotary = transformer.rotary, transformer.local_rotary
        self.blocks = nn.ModuleList(Block(layer, self.sizes) for layer in transformer.layers)
        self.norm, self.output = Normalization(transformer.norm), Projection(transformer.output)

    def embed(self, tokens: Tensor, weights: Weights) -> Tensor:
        """Tokens (sequences, n) -> what the first layer is given, (sequences, n, width)."""
        stream = functional.embedding(tokens, weights(self.embedding_name))
        if self.sizes.family.scaled_embedding:
            stream = stream * torch.tensor(np.float32(sqrt(self.sizes.width)))
        if self.positions_name is not None:
            stream = stream + weights(self.positions_name)[: tokens.shape[1]]
        return stream

    def turns(self, count: int) -> tuple[Turning | None, Turning | None]:
        """For layers that see everything, and for those with a window."""
        if self.rotary is None or self.local_rotary is None:
            return None, None
        return Turning(self.rotary, count), Turning(self.local_rotary, count)

    def head(self, stream: Tensor, weights: Weights) -> Tensor:
        """Stream (..., width) after the last layer -> logits (..., vocabulary)."""
        logits: Tensor = self.output(self.norm(stream), weights)
        cap = self.sizes.logit_cap
        return torch.tanh(logits / cap) * cap if cap else logits

    def forward(self, tokens: Tensor, weights: Weights) -> Tensor:
        """Tokens (sequences, n) -> logits (sequences, n, vocabulary)."""
        stream, turns = self.embed(tokens, weights), self.turns(tokens.shape[1])
        for block in self.blocks:
            stream = block(stream, turns[block.window > 0], weights)
        return self.head(stream, weights)


def _optional(norm: Norm | None) -> Normalization | None:
    return None if norm is None else Normalization(norm)


def _vector(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32)))


def _hidden(count: int, window: int, device: torch.device) -> Tensor:
    """Which keys (n,) a query (n,) may not see: later ones, and those before its window."""
    distance = torch.arange(count, device=device)[:, None] - torch.arange(count, device=device)
    hidden = distance < 0
    return hidden | (distance >= window) if window else hidden
