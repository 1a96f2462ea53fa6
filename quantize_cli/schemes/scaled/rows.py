"""Weights as numbers of four or eight bits times the scale of their block."""

from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.packing import blocks
from quantize_cli.schemes.packing.affine import Reader
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled import readers
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, IntegersOf4Bits, ScaledScales

_STEP_NBYTES = 4 << 20


@dataclass(frozen=True)
class ScaledRows:
    """(number - zero) * scale in float32; where columns have factors of their own, times those."""

    shape: tuple[int, ...]
    """(rows, columns) or (matrices, rows, columns)."""
    numbers: Reader
    """(n, columns)."""
    scales: BlockScales | ScaledScales
    block_columns: int
    """Columns that share a scale; the last block may have fewer."""
    zeros: BlockScales | None = None
    factors: StoredTensor | None = None
    """(columns,) of floats: what the tool's engine multiplies activations by."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        weights = self.numbers.read(start, stop).astype(np.float32)
        if self.zeros is not None:
            weights -= self._spread(self.zeros.read(start, stop))
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            weights *= self._spread(self.scales.read(start, stop))
            if self.factors is not None:
                weights *= self.factors.elements(0, self.shape[-1]).astype(np.float32)
        return weights

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Numbers (n, blocks) for each column: (n, columns), or (n, 1) where one is enough."""
        return values if values.shape[1] == 1 else np.repeat(values, self.block_columns, axis=1)[:, : self.shape[-1]]

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        type_ = self._block_type()
        width = 0 if type_ is None else BLOCK_SHAPE[type_].weights
        return () if type_ is None or self.factors is not None or self.shape[-1] % width else (type_,)

    def _block_type(self) -> GgmlType | None:
        """The type whose blocks have these numbers, in blocks of as many columns or of a part of them."""
        if isinstance(self.numbers, FloatsOf4Bits):
            inner = self.scales.scales if isinstance(self.scales, ScaledScales) else self.scales
            if inner.are_exponents and self.block_columns == 32 and self.scales is inner:
                return GgmlType.MXFP4
            return GgmlType.NVFP4 if inner.stored.dtype == "F8_E4M3" and self.block_columns == 16 else None
        if self.block_columns % 32:
            return None
        if isinstance(self.numbers, IntegersOf4Bits):
            return GgmlType.Q4_0
        is_byte = isinstance(self.numbers, Rows) and self.numbers.stored.dtype == "I8"
        return GgmlType.Q8_0 if is_byte else None

    def repacking(self, type_: GgmlType) -> str:
        if type_ not in self.block_types:
            return ""
        count = prod(self.shape[:-1])
        step = max(1, _STEP_NBYTES // max(1, 4 * self.shape[-1] // self.block_columns))
        for start in range(0, count, step):
            if not self._fit(type_, start, min(start + step, count)):
                return ""
        return blocks.LOSSLESS

    def _fit(self, type_: GgmlType, start: int, stop: int) -> bool:
        """Whether blocks can hold the scales of these rows."""
        if type_ is GgmlType.MXFP4:
            assert isinstance(self.scales, BlockScales)
            return not (self.scales.read_stored(start, stop).view(np.uint8) == readers.NAN_EXPONENT).any()
        scales = self.scales.read(start, stop)
        if self.zeros is not None and self.zeros.read(start, stop).any():
            return False
        return readers.are_scales_of_8_bits(scales) if type_ is GgmlType.NVFP4 else blocks.are_halves(scales)

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        numbers, scales = self.numbers, self.scales
        if isinstance(numbers, FloatsOf4Bits):
            codes = numbers.codes.read(start, stop)
            if type_ is GgmlType.MXFP4:
                assert isinstance(scales, BlockScales)
                return blocks.pack(type_, codes, exponent=scales.read_stored(start, stop).view(np.uint8))
            return blocks.pack(type_, codes, scale_code=readers.scale_codes(scales.read(start, stop)))
        read = numbers.read(start, stop)
        codes = (read + 8).view(np.uint8) if type_ is GgmlType.Q4_0 else read
        return blocks.pack(type_, codes, scale=scales.read(start, stop))
