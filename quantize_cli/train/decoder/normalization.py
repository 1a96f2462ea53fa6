"""RMS norms and layer norms."""

from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.layer import Norm
from quantize_cli.train.decoder.projection import vector


class Normalization(nn.Module):
    """RMS norm, or layer norm where the family centres; computed in float32, given in the type of what is normed."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight = vector(norm.weight)
        self.bias = None if norm.bias is None else vector(norm.bias)
        self.epsilon, self.centres = norm.epsilon, norm.centres

    def forward(self, x: Tensor) -> Tensor:
        """Each row of x (..., columns) by itself."""
        weight, bias = self.weight.float(), None if self.bias is None else self.bias.float()
        if self.centres:
            return functional.layer_norm(x.float(), x.shape[-1:], weight, bias, self.epsilon).to(x.dtype)
        scaled = functional.rms_norm(x.float(), x.shape[-1:], weight, self.epsilon)
        return (scaled if bias is None else scaled + bias).to(x.dtype)


def optional(norm: Norm | None) -> Normalization | None:
    return None if norm is None else Normalization(norm)
