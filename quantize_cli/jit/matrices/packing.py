"""Matrices as panels: some neighbouring columns of all rows side by side, as products read them."""

import numpy as np

from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import load, store

_BLOCK = 32
"""Rows that are laid out at once, so that what is read of them stays near until all panels have it."""


def panels_of(matrix: np.ndarray, width: int) -> np.ndarray:
    """A matrix (k, n), f32 or f64, as panels (panels, k, width), the last filled up with zeros."""
    panels = np.empty((-(-matrix.shape[1] // width), len(matrix), width), matrix.dtype)
    if matrix.strides[1] > matrix.strides[0]:
        _pack_rows(matrix.T, panels)
    elif matrix.dtype == np.float32 and width % 16 == 0 and matrix.strides[1] == matrix.itemsize:
        _pack_lines(matrix, panels)
    else:
        _pack_columns(matrix, panels)
    return panels


@kernel
def _pack_columns(matrix, panels):
    """matrix (k, n) -> panels (panels, k, width)."""
    for start in range(0, matrix.shape[0], _BLOCK):
        for panel in range(panels.shape[0]):
            _pack_corner(matrix, panels, panel, start)


@inlined
def _pack_corner(matrix, panels, panel, start):
    """A block of rows of one panel."""
    width = panels.shape[2]
    first = panel * width
    count = min(width, matrix.shape[1] - first)
    for k in range(start, min(start + _BLOCK, matrix.shape[0])):
        for i in range(count):
            panels[panel, k, i] = matrix[k, first + i]
        for i in range(count, width):
            panels[panel, k, i] = 0


@kernel
def _pack_lines(matrix, panels):
    """The same of float32 that lie side by side, sixteen at a time."""
    depth, width = panels.shape[1], panels.shape[2]
    rows = panels.reshape(-1, width)
    for start in range(0, depth, _BLOCK):
        for panel in range(panels.shape[0]):
            first = panel * width
            if first + width > matrix.shape[1]:
                _pack_corner(matrix, panels, panel, start)
                continue
            for k in range(start, min(start + _BLOCK, depth)):
                for i in range(0, width, 16):
                    store(rows, panel * depth + k, i, load(matrix, k, first + i))


@kernel
def _pack_rows(matrix, panels):
    """matrix (n, k) -> panels (panels, k, width)."""
    width = panels.shape[2]
    for panel in range(panels.shape[0]):
        first = panel * width
        count = min(width, matrix.shape[0] - first)
        for start in range(0, matrix.shape[1], 16):
            stop = min(start + 16, matrix.shape[1])
            for i in range(count):
                for k in range(start, stop):
                    panels[panel, k, i] = matrix[first + i, k]
            for i in range(count, width):
                for k in range(start, stop):
                    panels[panel, k, i] = 0
