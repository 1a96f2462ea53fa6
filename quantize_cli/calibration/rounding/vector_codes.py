"""The codes of some columns of a matrix in types whose codes stand for several weights at once, laid out by rows.

weight = scale * (2 * scale_code + 1) * value                       value = point * sign
"""

from dataclasses import dataclass

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.rounding.descent import ROUNDS
from quantize_cli.calibration.rounding.level_codes import ScaledCodes
from quantize_cli.calibration.rounding.vectors import UNIT, descend_runs, round_runs_with_feedback
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.matrices import inverses, inverses_of_triangles, weighted_grams
from quantize_cli.quants import Lattice, Signs

f32 = np.float32


@dataclass(frozen=True)
class RunCodes(ScaledCodes):
    """Codes of several neighbouring weights at once."""

    point: np.ndarray
    """(rows, runs) i16: the number of the lattice's point."""
    sign: np.ndarray
    """(rows, columns / 8) u8: bit i is set where weight i of eight is negative."""
    value: np.ndarray
    """(rows, columns) f32: what points and signs come to."""

    @property
    def lattice(self) -> Lattice:
        return lattice_of(self.type)

    @property
    def step(self) -> np.ndarray:
        """(rows, groups) f32."""
        return self.of_groups(self.scale) * (2 * self.scale_code + 1).astype(np.float32)

    def weights(self) -> np.ndarray:
        """(rows, columns) f32, what a decoder makes of them up to rounding."""
        weights: np.ndarray = np.repeat(self.step, self.lattice.group, axis=1) * self.value
        return weights

    def carry(self, weights: np.ndarray, target: np.ndarray, carry: np.ndarray, conditional: np.ndarray) -> np.ndarray:
        """Choose points from left to right, as feedback.py says, scales staying: the error (rows, columns) f32."""
        inner = _diagonal_blocks(carry).astype(np.float64)
        metrics = weighted_grams(inner, conditional.reshape(-1, UNIT))
        error = np.empty_like(target)
        round_runs_with_feedback(
            *self._rules, weights, target, carry, metrics.astype(np.float32),
            inverses_of_triangles(inner).astype(np.float32), self.step, self.point, self.sign, self.value, error,
        )  # fmt: skip
        return error

    def descend(self, gradient: np.ndarray, moments: np.ndarray, error: np.ndarray, changing: int) -> None:
        """Lessen the error by changing codes in place, as descent.py says."""
        metrics = _diagonal_blocks(moments)
        undone = inverses(metrics.astype(np.float64))
        descend_runs(
            *self._rules, gradient, moments, metrics, undone.astype(np.float32), self.lattice.scale_codes, changing,
            ROUNDS, self.scale, self.scale_code, self.point, self.sign, self.value, error,
        )  # fmt: skip

    def pack(self) -> np.ndarray:
        """The bytes of a file, (rows, row bytes) u8."""
        blocks, lattice = self.scale.size, self.lattice
        codes = np.empty(blocks, quants.codes_dtype(self.type))
        codes["scale"] = self.scale.reshape(-1)
        codes["scale_code"] = self.scale_code.reshape(blocks, -1)
        point = self.point.reshape(blocks, -1)
        if lattice.signs is Signs.NONE:
            half = len(lattice.points) // 2
            codes["point"] = point % half
            down = point // half
            codes["down"] = down[:, :: down.shape[1] // codes["down"].shape[1]]
        else:
            codes["point"] = point
            codes["sign"] = self.sign.reshape(blocks, -1) & (127 if lattice.signs is Signs.EVEN else 255)
        return quants.find(self.type).pack(codes).view(np.uint8).reshape(len(self.scale), -1)

    @property
    def _rules(self) -> tuple[int, int, np.ndarray]:
        lattice = self.lattice
        return int(lattice.signs), lattice.choices, np.ascontiguousarray(lattice.points.T)


def reference_codes(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> RunCodes:
    """The reference's own choice for weights (rows, columns) f32 of columns that cost `importance` (columns,)."""
    lattice_of(type_)
    return _by_rows(type_, quants.find(type_).quantize(np.ascontiguousarray(weights), importance), len(weights))


def codes_of_blocks(type_: GgmlType, stored: np.ndarray) -> RunCodes:
    """The codes that a file holds, (rows, row bytes) u8: what `RunCodes.pack` writes is read back."""
    return _by_rows(type_, quants.unpacked(type_, stored), len(stored))


def _by_rows(type_: GgmlType, codes: np.ndarray, rows: int) -> RunCodes:
    """Codes of blocks (n,) laid out by rows."""
    lattice = lattice_of(type_)
    point = codes["point"].astype(np.int16)
    if lattice.signs is Signs.NONE:
        runs = point.shape[1] // codes["down"].shape[1]
        point += np.repeat(codes["down"], runs, axis=1).astype(np.int16) * np.int16(len(lattice.points) // 2)
        sign = np.zeros((len(codes), point.shape[1]), np.uint8)
    else:
        sign = quants.with_parity_sign(codes["sign"]) if lattice.signs is Signs.EVEN else codes["sign"]
    value = lattice.points[point].reshape(rows, -1)
    negative = np.unpackbits(sign, axis=1, bitorder="little").reshape(rows, -1).astype(bool)
    return RunCodes(
        type_,
        codes["scale"].astype(np.float32).reshape(rows, -1),
        codes["scale_code"].astype(np.int16).reshape(rows, -1),
        point.reshape(rows, -1),
        np.ascontiguousarray(sign).reshape(rows, -1),
        np.where(negative, -value, value),
    )


def lattice_of(type_: GgmlType) -> Lattice:
    """The lattice of a type; ValueError where it has none."""
    lattice = quants.find(type_).lattice
    if lattice is None:
        raise ValueError(f"{type_.name.lower()} has no points and scales to work on")
    return lattice


def has_lattice(type_: GgmlType) -> bool:
    return type_ in quants.supported() and quants.find(type_).lattice is not None


def _diagonal_blocks(matrix: np.ndarray) -> np.ndarray:
    """The blocks (n / 8, 8, 8) on the diagonal of a matrix (n, n)."""
    units = len(matrix) // UNIT
    numbers = np.arange(units)
    return np.ascontiguousarray(matrix.reshape(units, UNIT, units, UNIT)[numbers, :, numbers, :])
