"""Feed-forwards, gated or not."""

from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.layer import FeedForward
from quantize_cli.train.decoder.projection import Projection, Projections
from quantize_cli.train.decoder.weights import Weights


class GatedUnit(nn.Module):
    """act(gate) * up, or gelu(up) without a gate, brought down to the width again."""

    def __init__(self, parts: FeedForward) -> None:
        super().__init__()
        self.inputs = Projections([part for part in (parts.gate, parts.up) if part is not None])
        self.down = Projection(parts.down)
        self.gelu = parts.gelu or parts.gate is None

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Normed activations (..., width) -> the same shape."""
        gate, *up = self.inputs(x, weights)
        active = functional.gelu(gate, approximate="tanh") if self.gelu else functional.silu(gate)
        out: Tensor = self.down(active * up[0] if up else active, weights)
        return out
