"""NF4: sixteen quantiles of a normal distribution, times the largest magnitude of each 64 weights (QLoRA).

Blocks run over the whole matrix, row after row. Their largest magnitudes are quantized too ("double quantization"): the
mean of all is taken off, then each 256 of them become 8-bit floats of a dynamic exponent (Dettmers et al. 2022) times
their own largest. That is 4.127 bits per weight. Codes, levels and their order are those of bitsandbytes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from quantize_cli.model import tensor as model_tensor
from quantize_cli.quants import decode

_BLOCK, _GROUP = 64, 256
"""Weights that share a magnitude, and magnitudes that share one."""
_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Appendix E of the QLoRA paper, as float32."""
_SMALLEST = 1e-38
"""What a block's magnitude counts as at least, so that zeros divide by something."""
_WEIGHTS = 1 << 22
"""Encoded or decoded at once."""
_STRIP = 64
"""Rows of a strip are a multiple of this, so that strips end where blocks do."""


class Nf4Matrix:
    """A float tensor in NF4, decoded on the device where its codes lie."""

    def __init__(self, tensor: model_tensor.Tensor, device: torch.device) -> None:
        """InputError for a weight that is NaN or infinite."""
        self.shape = (tensor.row_count, tensor.columns)
        parts = [_encoded(strip.to(device)) for strip in _strips(tensor)]
        self._codes = torch.cat([codes for codes, _ in parts])
        largest = torch.cat([largest for _, largest in parts])
        self._offset = largest.mean()
        self._magnitudes, self._scales = _in_eight_bits(largest - self._offset)
        levels = torch.tensor(_LEVELS, device=device)
        pairs = torch.stack([levels.repeat_interleave(16), levels.repeat(16)], dim=1)
        self._pairs = pairs.view(torch.int64).view(-1)
        """The two f32 weights of each byte as one number, (256,): ten times as fast to look up as rows of two."""

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self._codes, self._magnitudes, self._scales, self._offset))

    def __call__(self) -> Tensor:
        rows, columns = self.shape
        out = torch.empty(rows * columns, device=self._codes.device)
        largest = self.magnitudes()
        for start in range(0, len(out), _WEIGHTS):
            part = out[start : start + _WEIGHTS]
            codes = self._codes[start // 2 : (start + _WEIGHTS) // 2].int()
            blocks = largest[start // _BLOCK : (start + _WEIGHTS) // _BLOCK]
            weights = self._pairs.index_select(0, codes).view(torch.float32).view(-1, _BLOCK)
            part.copy_(weights.mul_(blocks[:, None]).view(-1)[: len(part)])
        return out.view(self.shape)

    def magnitudes(self) -> Tensor:
        """Of each block, (blocks,) f32."""
        codes = _dynamic_levels().to(self._codes.device).index_select(0, self._magnitudes.int())
        return codes * self._scales.repeat_interleave(_GROUP)[: len(codes)] + self._offset

    @property
    def codes(self) -> Tensor:
        """Two to a byte, the first in the high bits: (weights / 2,) u8, filled up with zeros to a whole block."""
        return self._codes


def _strips(tensor: model_tensor.Tensor) -> Iterator[Tensor]:
    """Its weights in order, (n,) f32."""
    step = max(1, _WEIGHTS // tensor.columns // _STRIP) * _STRIP
    for start in range(0, tensor.row_count, step):
        weights = decode(tensor.type, tensor.read(start, min(start + step, tensor.row_count)))
        model_tensor.refuse_not_finite(weights, tensor.origin, start)
        yield torch.tensor(weights).view(-1)


def _encoded(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (n,) f32 -> codes, two to a byte, and the largest magnitude of each block."""
    blocks = functional.pad(weights, (0, -len(weights) % _BLOCK)).view(-1, _BLOCK)
    largest = blocks.abs().amax(dim=1)
    scaled = (blocks * (1 / largest.clamp(min=_SMALLEST))[:, None]).clamp(-1, 1)
    codes = torch.bucketize(scaled, _between(torch.tensor(_LEVELS, device=weights.device))).to(torch.uint8).view(-1)
    return codes[::2] << 4 | codes[1::2], largest


def _in_eight_bits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n,) f32 -> their codes (n,) u8, and the largest magnitude of each group (groups,) f32."""
    groups = functional.pad(values, (0, -len(values) % _GROUP)).view(-1, _GROUP)
    largest = groups.abs().amax(dim=1)
    scaled = groups * (1 / largest.clamp(min=_SMALLEST))[:, None]
    codes = torch.bucketize(scaled, _between(_dynamic_levels().to(values.device))).to(torch.uint8)
    return codes.view(-1)[: len(values)], largest


def _between(levels: Tensor) -> Tensor:
    """The middles between neighbours."""
    return (levels[:-1] + levels[1:]) / 2


def _dynamic_levels() -> Tensor:
    """The 256 values of the 8-bit float, ascending: the longer its exponent, the fewer its fractions."""
    positive = torch.cat(
        [10.0 ** (exponent - 6) * _between(torch.linspace(0.1, 1, 2**exponent + 1)) for exponent in range(7)]
    )
    return torch.cat([positive, -positive, torch.tensor([0.0, 1.0])]).sort().values
