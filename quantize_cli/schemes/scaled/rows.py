"""Weights as floats of four or eight bits times the scale of their block."""

from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.sources import LOSSLESS, Source
from quantize_cli.schemes.packing import blocks
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, ScaledScales

_READ_NUMBERS = 1 << 18
"""Scales looked at together."""
_LARGEST_EXPONENT, _LARGEST_SCALE = 254, 126
"""Bytes of scales above are no number, or in NVFP4 negative, which blocks cannot hold."""


@dataclass(frozen=True)
class ScaledFloats:
    """float * scale in float32."""

    shape: tuple[int, ...]
    """(rows, columns) or (matrices, rows, columns)."""
    floats: Rows | FloatsOf4Bits
    """(n, columns)."""
    scales: BlockScales | ScaledScales
    block_columns: int
    """Columns that share a scale; the last block may have fewer."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        weights = self.floats.read(start, stop).astype(np.float32)
        scales = self.scales.read(start, stop)
        if scales.shape[1] > 1:
            scales = np.repeat(scales, self.block_columns, axis=1)[:, : self.shape[-1]]
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            weights *= scales
        return weights

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        type_ = self._block_type()
        return () if type_ is None or self.shape[-1] % BLOCK_SHAPE[type_].weights else (type_,)

    def _block_type(self) -> GgmlType | None:
        """The type whose blocks have such floats under such scales."""
        if not isinstance(self.floats, FloatsOf4Bits):
            return None
        if isinstance(self.scales, BlockScales) and self.scales.are_exponents:
            return GgmlType.MXFP4
        return GgmlType.NVFP4 if self.block_columns == 16 else None

    def repacking(self, type_: GgmlType) -> str:
        if type_ not in self.block_types:
            return ""
        count = prod(self.shape[:-1])
        step = max(1, _READ_NUMBERS * self.block_columns // self.shape[-1])
        if not all(self._fit(type_, start, min(start + step, count)) for start in range(0, count, step)):
            return ""
        beside = self.scale_beside(type_)
        if beside is None:
            return LOSSLESS
        return "with the scale of the matrix beside it" if np.isfinite(beside).all() else ""

    def _fit(self, type_: GgmlType, start: int, stop: int) -> bool:
        """Whether blocks can hold the scales of these rows."""
        most = _LARGEST_EXPONENT if type_ is GgmlType.MXFP4 else _LARGEST_SCALE
        return bool((self._block_scales(start, stop) <= most).all())

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        assert isinstance(self.floats, FloatsOf4Bits)
        codes, scales = self.floats.codes.read(start, stop), self._block_scales(start, stop)
        if type_ is GgmlType.MXFP4:
            return blocks.pack(type_, codes, exponent=scales)
        return blocks.pack(type_, codes, scale_code=scales)

    def _block_scales(self, start: int, stop: int) -> np.ndarray:
        """The bytes of the scales of blocks, (n, blocks) u8."""
        scales = self.scales.scales if isinstance(self.scales, ScaledScales) else self.scales
        return scales.read_stored(start, stop).view(np.uint8)

    def scale_beside(self, type_: GgmlType) -> np.ndarray | None:
        if not isinstance(self.scales, ScaledScales) or type_ not in self.block_types:
            return None
        return self.scales.of_matrices(prod(self.shape[:-2]))


@dataclass(frozen=True)
class ScaledColumns:
    """The rows of another source, each column times a factor of its own: what an engine multiplies activations by."""

    source: Source
    factors: StoredTensor
    """(columns,) of floats."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        weights = self.source.rows(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):
            weights *= self.factors.elements(0, weights.shape[1]).astype(np.float32)
        return weights
