"""The runtime's decoder in torch, so that gradients flow: the same tensors, hyperparameters and order of operations.

Weights are asked for by name when they are used. Whoever trains puts in their place what a file would hold of them.
"""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from quantize_cli.errors import InputError
from quantize_cli.runtime.transformer import Transformer
from quantize_cli.train.decoder.block import Block
from quantize_cli.train.decoder.normalization import Normalization
from quantize_cli.train.decoder.projection import Projection
from quantize_cli.train.decoder.rotary import Turning, turning
from quantize_cli.train.decoder.weights import Weights

__all__ = ["Decoder", "Turns", "Weights"]

Turns = tuple[Turning | None, Turning | None]
"""How heads turn in layers that see everything, and in those with a window; None where positions are learned."""


class Decoder(nn.Module):
    """A decoder whose matrices come from outside; norms and biases are its own parameters, without gradients.

    Under bfloat16 autocast products are bfloat16; norms, rotations, shares and logits stay float32, and so does the
    stream if the embedding is.
    """

    def __init__(self, transformer: Transformer, checkpointing: bool = False) -> None:
        """With `checkpointing`, the backward pass computes each block once more instead of keeping all of it."""
        super().__init__()
        sizes, positions = transformer.hyperparameters, transformer.positions
        self.checkpointing = checkpointing
        self.embedding_name = transformer.embedding.tensor.name
        self.positions_name = None if positions is None else positions.tensor.name
        self.rotaries = (transformer.rotary, transformer.local_rotary)
        self.embedding_scale = float(np.float32(sqrt(sizes.width))) if sizes.family.scaled_embedding else 1.0
        self.logit_cap, self.vocabulary = sizes.logit_cap, transformer.vocabulary
        self._blocks = nn.ModuleList(Block(layer, sizes) for layer in transformer.layers)
        self.norm, self.output = Normalization(transformer.norm), Projection(transformer.output)
        self._turns: tuple[tuple[int, torch.device], Turns] | None = None

    @property
    def blocks(self) -> Sequence[Block]:
        """The layers in order."""
        return tuple(cast(Iterable[Block], self._blocks))

    def embed(self, tokens: Tensor, weights: Weights) -> Tensor:
        """Tokens (sequences, n) -> what the first layer is given, (sequences, n, width).

        InputError for more positions than the model has learned.
        """
        stream = functional.embedding(tokens, weights(self.embedding_name))
        if self.embedding_scale != 1.0:
            stream = stream * self.embedding_scale
        if self.positions_name is None:
            return stream
        positions, count = weights(self.positions_name), tokens.shape[1]
        if count > len(positions):
            raise InputError(f"the model has {len(positions)} positions, {count} are needed")
        return stream + positions[:count]

    def turns(self, count: int) -> Turns:
        """How heads turn in contexts of `count` tokens; those of the last count are kept."""
        key = (count, self.norm.weight.device)
        if self._turns is None or self._turns[0] != key:
            with torch.inference_mode(False):  # they are kept, and may be needed for a gradient later
                everywhere, local = (None if r is None else turning(r, *key) for r in self.rotaries)
            self._turns = key, (everywhere, local)
        return self._turns[1]

    def run(self, block: Block, stream: Tensor, turns: Turns, weights: Weights) -> Tensor:
        """Stream (sequences, n, width) -> the same after a block, which is checkpointed if blocks are."""
        turn = turns[block.window > 0]
        if not (self.checkpointing and torch.is_grad_enabled()):
            out: Tensor = block(stream, turn, weights)
            return out
        # Nothing in a block is random.
        again: Tensor = checkpoint(block, stream, turn, weights, use_reentrant=False, preserve_rng_state=False)
        return again

    def head(self, stream: Tensor, weights: Weights) -> Tensor:
        """Stream (..., width) after the last layer -> logits (..., vocabulary) f32."""
        logits: Tensor = self.output(self.norm(stream), weights).float()
        return torch.tanh(logits / self.logit_cap) * self.logit_cap if self.logit_cap else logits

    def forward(self, tokens: Tensor, weights: Weights) -> Tensor:
        """Tokens (sequences, n) -> logits (sequences, n, vocabulary) f32."""
        return self.head(self.hidden(tokens, weights), weights)

    def hidden(self, tokens: Tensor, weights: Weights) -> Tensor:
        """As `forward`, but stops before the last norm: (sequences, n, width)."""
        stream, turns = self.embed(tokens, weights), self.turns(tokens.shape[1])
        for block in self.blocks:
            stream = self.run(block, stream, turns, weights)
        return stream
