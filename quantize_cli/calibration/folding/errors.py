"""How far the outputs of a mapping's matrices are off when they are rounded with scaled columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quantize_cli.calibration.folding.folding import Consumer, Folding, ScaleMapping
from quantize_cli.calibration.rounding.rows import map_rows
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.observer import Input
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType
from quantize_cli.jit.matrices import multiply
from quantize_cli.quants import decode, encode

_ROWS = 1024
"""Rows of a mapping's matrices that are rounded, evenly spread over all of them."""
_MOMENTS_NBYTES = 1 << 30
"""Second moments held at once, if there are several: the experts of a layer take turns."""


@dataclass(frozen=True)
class Rounding:
    """The types that a model's matrices will be rounded to, and how."""

    folding: Folding
    types: Mapping[str, GgmlType]
    """By tensor name; what is not named is not rounded."""
    threads: int

    def turns(self, layer: Sequence[ScaleMapping]) -> list[list[Input]]:
        """The inputs whose moments `errors` needs, in turns that fit in memory; at least one turn."""
        turns: list[list[Input]] = [[]]
        room = _MOMENTS_NBYTES
        readers = {reader.input: reader for mapping in layer for reader in self._rounded(mapping)}
        for key, reader in readers.items():
            nbytes = self.folding.tensor(reader.name).columns ** 2 * 8
            if turns[-1] and room < nbytes:
                turns.append([])
                room = _MOMENTS_NBYTES
            turns[-1].append(key)
            room -= nbytes
        return turns

    def errors(self, mapping: ScaleMapping, scales: np.ndarray, moments: Mapping[Input, Moments]) -> np.ndarray:
        """For each of scales (n, channels), the squared errors of outputs summed over all tokens, (n,) f64.

        Of the matrices whose inputs have `moments` H: the sum of tr(E H E^T), where E = Q(W s) / s - W.
        """
        errors = np.zeros(len(scales))
        readers = self._rounded(mapping)
        rows = sum(stop - start for start, stop in map(self.folding.rows, readers))
        for reader in readers:
            if reader.input in moments:
                weights = np.concatenate(list(self.folding.weights(reader, max(1, rows // _ROWS))))
                errors += self._of_reader(
                    weights, self.types[reader.name], mapping.spread(scales), moments[reader.input]
                )
        return errors

    def weight_sizes(self, mapping: ScaleMapping) -> np.ndarray:
        """The root mean square of the weights that read each channel of a mapping and are rounded, (channels,) f64."""
        rows, squares = 0, np.zeros(mapping.columns)
        for reader in self._rounded(mapping):
            for weights in self.folding.weights(reader):
                rows += len(weights)
                squares += np.square(weights).sum(axis=0, dtype=np.float64)
        return np.sqrt(mapping.mean(squares) / max(1, rows))

    def _rounded(self, mapping: ScaleMapping) -> list[Consumer]:
        return [reader for reader in mapping.readers if self.types.get(reader.name, GgmlType.F32) not in FLOAT_TYPES]

    def _of_reader(self, weights: np.ndarray, type_: GgmlType, scales: np.ndarray, moments: Moments) -> np.ndarray:
        """Of weights (rows, columns) f32, for each of scales (n, columns): tr(E H E^T), (n,) f64."""
        second, diagonal = moments.second.astype(np.float32), np.diag(moments.second) / moments.count
        step = -(-len(weights) // self.threads)
        errors = np.empty(len(scales))
        for index, columns in enumerate(scales):
            importance = (diagonal / np.square(columns)).astype(np.float32)

            def rounding_error(
                part: slice, columns: np.ndarray = columns, importance: np.ndarray = importance
            ) -> np.ndarray:
                stored = encode(type_, weights[part] * columns, importance)
                error: np.ndarray = decode(type_, stored) / columns - weights[part]
                return error

            error = np.concatenate(map_rows(rounding_error, len(weights), step, self.threads))
            errors[index] = np.multiply(multiply(error, second, self.threads), error, dtype=np.float64).sum()
        return errors
