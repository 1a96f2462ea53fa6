"""Chunks of tokens to train on, and those that are held out."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Examples:
    """Chunks of equal length; those that are held out no step sees."""

    tokens: np.ndarray
    """(chunks, context) int32."""
    counted: np.ndarray
    """(chunks, context) bool: whether the prediction of this token counts (not of a prompt, not of padding)."""
    held_tokens: np.ndarray
    held_counted: np.ndarray
