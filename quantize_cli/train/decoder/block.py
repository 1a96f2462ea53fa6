"""One layer of a decoder."""

from torch import Tensor, nn

from quantize_cli.runtime.hyperparameters import Hyperparameters
from quantize_cli.runtime.layer import Layer
from quantize_cli.train.decoder.attention import Attention
from quantize_cli.train.decoder.mixture import feed_forward
from quantize_cli.train.decoder.normalization import Normalization, optional
from quantize_cli.train.decoder.rotary import Turning
from quantize_cli.train.decoder.weights import Weights


class Block(nn.Module):
    """Attention, then the feed-forward, each added to the stream."""

    def __init__(self, layer: Layer, sizes: Hyperparameters) -> None:
        super().__init__()
        self.window = layer.window
        self.attention_norm, self.attention = Normalization(layer.attention_norm), Attention(layer, sizes)
        self.attention_post_norm = optional(layer.attention_post_norm)
        self.feed_forward_norm = Normalization(layer.feed_forward_norm)
        self.feed_forward = feed_forward(layer.feed_forward)
        self.feed_forward_post_norm = optional(layer.feed_forward_post_norm)

    def forward(self, stream: Tensor, turn: Turning | None, weights: Weights) -> Tensor:
        """Stream (sequences, n, width) -> the same after this layer.

        `turn` is `Decoder.turns(n)[block.window > 0]`.
        """
        mixed: Tensor = self.attention(self.attention_norm(stream), turn, weights)
        stream = stream + (mixed if self.attention_post_norm is None else self.attention_post_norm(mixed))
        formed: Tensor = self.feed_forward(self.feed_forward_norm(stream), weights)
        return stream + (formed if self.feed_forward_post_norm is None else self.feed_forward_post_norm(formed))
