"""Activations as an engine rounds them before it multiplies integers: eight bits, so a file is measured as it will run.

llama.cpp pairs every block type with an eight-bit type for the other factor (ggml-cpu.c, vec_dot_type). Float weights
are multiplied with the activations as they are.
"""

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType

_SMALL_BLOCK, _SUPER_BLOCK = 32, 256


def quantize_activations(activations: np.ndarray, weights: GgmlType) -> np.ndarray:
    """Activations (n, columns) f32 as they meet weights of a type, (n, columns) f32."""
    if weights in FLOAT_TYPES:
        return activations
    if BLOCK_SHAPE[weights].weights == _SUPER_BLOCK:
        return _q8_k(activations.reshape(-1, _SUPER_BLOCK)).reshape(activations.shape)
    return _q8_0(activations.reshape(-1, _SMALL_BLOCK)).reshape(activations.shape)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    """One f16 scale for 32 codes in -127..127 (quantize_row_q8_0)."""
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    scale = (largest / np.float32(127)).astype(np.float16).astype(np.float32)
    weights: np.ndarray = np.rint(blocks * inverse) * scale
    return weights


def _q8_k(blocks: np.ndarray) -> np.ndarray:
    """One f32 scale for 256 codes, the weight of largest magnitude at -127 (quantize_row_q8_K_ref)."""
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    inverse = np.divide(np.float32(-127), extreme, out=np.zeros_like(extreme), where=extreme != 0)
    codes = np.minimum(127, np.rint(blocks * inverse))
    weights: np.ndarray = np.divide(codes, inverse, out=np.zeros_like(codes), where=inverse != 0)
    return weights
