"""Logits of many tokens, some at a time: all of a batch's would take more memory than the model."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

AT_ONCE = 1 << 24
"""Numbers held at once, 64 MiB of float32."""


def mean_in_parts(summed: Callable[[Tensor, Tensor], Tensor], vocabulary: int, hidden: Tensor, other: Tensor) -> Tensor:
    """The mean over rows of what `summed` gives for parts of hidden states (n, width) and of what belongs to each.

    The backward pass computes each part's logits again. Zero where there are no rows.
    """
    rows, total = max(1, AT_ONCE // vocabulary), hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        total = total + checkpoint(summed, hidden[part], other[part], use_reentrant=False)
    return total / max(1, len(hidden))
