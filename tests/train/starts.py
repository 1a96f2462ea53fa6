"""Blocks that training starts from, of any type: random codes under random scales."""

import numpy as np
import torch

from quantize_cli import quants
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.quants import Signs
from quantize_cli.train.weights.factory import trained_matrix
from quantize_cli.train.weights.trained_matrix import TrainedMatrix

torch.set_num_threads(1)  # matrices this small take longer on two threads than on one

SCALED = tuple(t for t in quants.supported() if quants.find(t).grid or quants.find(t).lattice)
SEARCHED = tuple(t for t in quants.supported() if t not in SCALED)
ROWS, COLUMNS = 4, 512


def blocks(type_: GgmlType, seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """(rows, row bytes) u8; of scales and their codes some are zero, and some negative where a type has such."""
    random = np.random.default_rng(seed)
    if type_ in SEARCHED:
        return quants.encode(type_, (0.02 * random.normal(size=(rows, columns))).astype(np.float32))
    quant = quants.find(type_)
    codes = np.zeros(rows * columns // BLOCK_SHAPE[type_].weights, quants.codes_dtype(type_))
    for name in codes.dtype.names or ():
        low, high = _range(type_, name)
        size = codes[name].shape
        if codes[name].dtype == np.float16:
            codes[name] = 0.01 * random.normal(size=size) * (random.random(size) > 0.2)
        else:
            codes[name] = random.integers(low, high + 1, size)
    return quant.pack(codes).view(np.uint8).reshape(rows, -1)


def _range(type_: GgmlType, name: str) -> tuple[int, int]:
    """The least and the largest that a field of codes may be."""
    quant = quants.find(type_)
    if quant.grid:
        first = quant.grid.first
        ranges = {
            "code": (first, first + len(quant.grid.levels) - 1),
            "scale_code": quant.grid.scale_codes or (1, 1),
            "minimum_code": quant.grid.minimum_codes or (1, 1),
        }
        return ranges.get(name, (0, 0))
    assert quant.lattice
    points = len(quant.lattice.points) // (2 if quant.lattice.signs is Signs.NONE else 1)
    signs = 127 if quant.lattice.signs is Signs.EVEN else 255
    ranges = {"point": (0, points - 1), "scale_code": quant.lattice.scale_codes, "sign": (0, signs), "down": (0, 1)}
    return ranges.get(name, (0, 0))


def weights(type_: GgmlType, stored: np.ndarray, seed: int = 1) -> np.ndarray:
    """Float weights that could have been rounded to these blocks, some of them far away."""
    random, decoded = np.random.default_rng(seed), quants.decode(type_, stored)
    noise = random.normal(size=decoded.shape) * np.where(random.random(decoded.shape) < 0.1, 1, 0.1)
    return (decoded + noise * np.abs(decoded).mean()).astype(np.float32)


def matrix(type_: GgmlType, seed: int = 0) -> TrainedMatrix:
    stored = blocks(type_, seed)
    return trained_matrix(type_, stored, weights(type_, stored, seed + 1))
