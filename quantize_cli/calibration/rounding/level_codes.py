"""The codes of some columns of a matrix, laid out by rows for whoever changes them, in any type with a grid.

    weight = step * level + offset        step = scale * scale_code, offset = sign * minimum * minimum_code

All of a row's groups lie side by side: `group` weights share a step and an offset, and `groups` of them, a block, the
scale and the minimum.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.rounding.descent import ROUNDS, descend
from quantize_cli.calibration.rounding.feedback import round_with_feedback
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.quants import Grid

_NO_CODES = (1, 1)
_Codes = TypeVar("_Codes", bound="ScaledCodes")


@dataclass(frozen=True)
class ScaledCodes:
    """Codes of (rows, columns) of weights with scales of their own; arrays that may be changed in place."""

    type: GgmlType
    scale: np.ndarray
    """(rows, blocks) f32, each an IEEE half."""
    scale_code: np.ndarray
    """(rows, groups) i16; ones where the type has none."""

    def of_groups(self, values: np.ndarray) -> np.ndarray:
        """Values of blocks (rows, blocks) for each of their groups, (rows, groups)."""
        return np.repeat(values, self.scale_code.shape[1] // values.shape[1], axis=1)

    def columns(self: _Codes, window: slice) -> _Codes:
        """Copies of some columns, which are whole blocks."""
        columns = self.scale.shape[1] * BLOCK_SHAPE[self.type].weights
        parts: dict[str, Any] = {}
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                each = columns // values.shape[1]
                parts[name] = values[:, window.start // each : window.stop // each].copy()
        return replace(self, **parts)


@dataclass(frozen=True)
class Codes(ScaledCodes):
    """Codes of weights one by one."""

    minimum: np.ndarray
    """(rows, blocks) f32, each an IEEE half; zeros where the type has none."""
    minimum_code: np.ndarray
    """(rows, groups) i16; ones where the type has none."""
    level: np.ndarray
    """(rows, columns) u8: the number of the level."""

    @property
    def grid(self) -> Grid:
        return grid_of(self.type)

    @property
    def step(self) -> np.ndarray:
        """(rows, groups) f32."""
        step: np.ndarray = self.of_groups(self.scale) * self.scale_code
        return step

    @property
    def offset(self) -> np.ndarray:
        """(rows, groups) f32."""
        offset: np.ndarray = np.float32(self.grid.sign) * self.of_groups(self.minimum) * self.minimum_code
        return offset

    def weights(self) -> np.ndarray:
        """(rows, columns) f32, what a decoder makes of them up to rounding."""
        groups = self.grid.levels[self.level].reshape(*self.scale_code.shape, self.grid.group)
        weights: np.ndarray = (groups * self.step[..., None] + self.offset[..., None]).reshape(self.level.shape)
        return weights

    def carry(self, weights: np.ndarray, target: np.ndarray, carry: np.ndarray, conditional: np.ndarray) -> np.ndarray:
        """Choose levels from left to right, as feedback.py says, scales staying: the error (rows, columns) f32."""
        grid, error = self.grid, np.empty_like(target)
        round_with_feedback(
            weights, target, carry, self.step, self.offset, grid.group, grid.levels, grid.is_even, self.level, error
        )
        return error

    def descend(self, gradient: np.ndarray, moments: np.ndarray, error: np.ndarray, changing: int) -> None:
        """Lessen the error by changing codes in place, as descent.py says."""
        grid = self.grid
        descend(
            gradient, moments, grid.group, grid.levels, grid.is_even, grid.sign, grid.scale_codes or _NO_CODES,
            grid.minimum_codes or _NO_CODES, changing, ROUNDS, self.scale, self.minimum, self.scale_code,
            self.minimum_code, self.level, error,
        )  # fmt: skip

    def pack(self) -> np.ndarray:
        """The bytes of a file, (rows, row bytes) u8."""
        quant, rows = quants.find(self.type), len(self.scale)
        width = BLOCK_SHAPE[self.type].weights
        fields = {
            "scale": self.scale.reshape(-1),
            "minimum": self.minimum.reshape(-1),
            "scale_code": self.scale_code.reshape(self.scale.size, -1),
            "minimum_code": self.minimum_code.reshape(self.scale.size, -1),
            "code": self.level.reshape(-1, width) + np.int16(self.grid.first),
        }
        codes = np.empty(self.scale.size, quants.codes_dtype(self.type))
        for name in codes.dtype.names or ():
            codes[name] = fields[name]
        return quant.pack(codes).view(np.uint8).reshape(rows, -1)


def reference_codes(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> Codes:
    """The reference's own choice for weights (rows, columns) f32 of columns that cost `importance` (columns,)."""
    grid_of(type_)
    return _by_rows(type_, quants.find(type_).quantize(np.ascontiguousarray(weights), importance), len(weights))


def codes_of_blocks(type_: GgmlType, stored: np.ndarray) -> Codes:
    """The codes that a file holds, (rows, row bytes) u8: what `Codes.pack` writes is read back."""
    return _by_rows(type_, quants.unpacked(type_, stored), len(stored))


def _by_rows(type_: GgmlType, codes: np.ndarray, rows: int) -> Codes:
    """Codes of blocks (n,) laid out by rows."""
    names, grid = codes.dtype.names or (), grid_of(type_)
    columns = codes["code"].size // rows

    def field(name: str, absent: int, dtype: type, count: int) -> np.ndarray:
        if name not in names:
            return np.full((rows, count), absent, dtype)
        return codes[name].astype(dtype).reshape(rows, count)

    blocks, groups = columns // BLOCK_SHAPE[type_].weights, columns // grid.group
    return Codes(
        type_,
        scale=field("scale", 0, np.float32, blocks),
        minimum=field("minimum", 0, np.float32, blocks),
        scale_code=field("scale_code", 1, np.int16, groups),
        minimum_code=field("minimum_code", 1, np.int16, groups),
        level=(codes["code"] - np.int16(grid.first)).astype(np.uint8).reshape(rows, columns),
    )


def grid_of(type_: GgmlType) -> Grid:
    """The grid of a type; ValueError where it has none."""
    grid = quants.find(type_).grid
    if grid is None:
        raise ValueError(f"{type_.name.lower()} has no levels and scales to work on")
    return grid


def has_grid(type_: GgmlType) -> bool:
    return type_ in quants.supported() and quants.find(type_).grid is not None
