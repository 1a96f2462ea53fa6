"""A mixture of experts: each token goes through the few feed-forwards a router chooses for it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.runtime.layer import FeedForward
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.train.decoder.feed_forward import GatedUnit
from quantize_cli.train.decoder.projection import Projection
from quantize_cli.train.decoder.weights import Multiplying, Rows, Weights

_SMALLEST_SUM = 2.0**-14
"""What the shares of chosen experts are divided by at least, as in the runtime."""


class Experts(nn.Module):
    """The sum of the chosen experts, each weighted by its share of the router's softmax, and of the shared one."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.router = Projection(mixture.router)
        self.experts = nn.ModuleList(GatedUnit(expert, number) for number, expert in enumerate(mixture.experts))
        self.used, self.normalized = mixture.used, mixture.normalized
        self.shared = None if mixture.shared is None else GatedUnit(mixture.shared)
        self.shared_gate = None if mixture.shared_gate is None else Projection(mixture.shared_gate)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Normed activations (..., width) -> the same shape."""
        flat = x.flatten(0, -2)
        chosen, shares = self._route(flat, weights)
        out = (self._formed(flat, chosen, weights) * shares[..., None]).sum(dim=1)
        if self.shared is not None and self.shared_gate is not None:
            out = out + torch.sigmoid(self.shared_gate(flat, weights).float()) * self.shared(flat, weights)
        return out.to(x.dtype).view(x.shape)

    def _route(self, flat: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """The experts of each token (n, used), of equally likely ones the first, and their shares (n, used) f32."""
        probability = torch.softmax(self.router(flat, weights).float(), dim=-1)
        ordered, experts = torch.sort(probability, dim=-1, descending=True, stable=True)
        shares = ordered[:, : self.used]
        if self.normalized:
            shares = shares / shares.sum(-1, keepdim=True).clamp_min(_SMALLEST_SUM)
        return experts[:, : self.used], shares

    def _formed(self, flat: Tensor, chosen: Tensor, weights: Weights) -> Tensor:
        """What each token's experts make of it, (n, used, width).

        Tokens are brought into the order of their experts and back, and nothing is added in between: sums in no fixed
        order would make a training differ from run to run on a GPU.
        """
        weights = weights if isinstance(weights, Multiplying) else _StacksCutOnce(weights)
        order = torch.argsort(chosen.flatten(), stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        groups = torch.split(flat[order // self.used], counts)
        formed = [expert(group, weights) for expert, group in zip(self.experts, groups, strict=True) if len(group)]
        together = torch.cat(formed)[torch.argsort(order)]
        return together.view(len(flat), self.used, -1)


class _StacksCutOnce:
    """Weights that are asked once for each stack of experts.

    The backward pass of a cut puts the gradients of all experts side by side; that of one expert's rows alone would
    fill a whole stack with zeros for each expert.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._experts: dict[str, tuple[Tensor, ...]] = {}

    def __call__(self, name: str) -> Tensor:
        return self._weights(name)

    def multiply(self, rows: Rows, x: Tensor) -> Tensor:
        if rows.name not in self._experts:
            self._experts[rows.name] = torch.split(self(rows.name), rows.count)
        return functional.linear(x, self._experts[rows.name][rows.first // rows.count])


def feed_forward(part: object) -> nn.Module:
    """The feed-forward of a layer, or the mixture of them."""
    if isinstance(part, Mixture):
        return Experts(part)
    assert isinstance(part, FeedForward)
    return GatedUnit(part)
