"""Feed-forwards, gated or not."""

from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.layer import FeedForward
from quantize_cli.train.decoder.projection import Projection, Projections
from quantize_cli.train.decoder.weights import Weights


class GatedUnit(nn.Module):
    """act(gate) * up, or gelu(up) without a gate, brought down to the width again."""

    def __init__(self, parts: FeedForward, number: int = 0) -> None:
        """`number` is that of an expert, whose matrices lie in stacks."""
        super().__init__()
        self.inputs = Projections([part for part in (parts.gate, parts.up) if part is not None], number)
        self.down = Projection(parts.down, number=number)
        self.gelu = parts.gelu or parts.gate is None

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Normed activations (..., width) -> the same shape."""
        gate, *up = self.inputs(x, weights)
        active = functional.gelu(gate, approximate="tanh") if self.gelu else functional.silu(gate)
        out: Tensor = self.down(active * up[0] if up else active, weights)
        return out
