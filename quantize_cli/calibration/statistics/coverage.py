"""What a calibration text is too thin for, by the numbers: few tokens, few different ones, or the same again."""

from collections.abc import Mapping

import numpy as np

_DISTINCT, _OF_VOCABULARY, _OF_TOKENS = 64, 4, 8
"""Tokens that even a text of letters has, and of a small vocabulary or a short text the part."""
_RUN = 8
"""Tokens in a row that texts seldom have twice: 0.1 % of an English text, and a third of a page of markup."""
_REPEATED = 0.5


def coverage_warnings(chunks: np.ndarray, columns: Mapping[str, int], vocabulary: int) -> tuple[str, ...]:
    """What a person should know of a text of `chunks` (n, context), read for matrices with so many columns by name."""
    doubts = []
    widest = max(columns, key=lambda name: columns[name])
    if chunks.size < columns[widest]:
        doubts.append(f"{chunks.size} tokens are read, fewer than the {columns[widest]} columns of {widest}")
    distinct = len(np.unique(chunks))
    if distinct < min(_DISTINCT, vocabulary // _OF_VOCABULARY, chunks.size // _OF_TOKENS):
        doubts.append(f"the text has {distinct} distinct tokens of a vocabulary of {vocabulary}")
    repeated = _repeated(chunks)
    if repeated > _REPEATED:
        doubts.append(f"the text says the same again: {repeated:.1%} of its runs of {_RUN} tokens were there before")
    return tuple(f"{doubt}; a calibration may be worse than none, a longer and richer text helps" for doubt in doubts)


def _repeated(chunks: np.ndarray) -> float:
    """The share of runs of tokens that came before. Runs do not cross chunks, which begin with a token of their own."""
    if chunks.shape[1] <= _RUN:
        return 0.0
    runs = np.lib.stride_tricks.sliding_window_view(chunks[:, 1:], _RUN, axis=1).reshape(-1, _RUN)
    packed = np.ascontiguousarray(runs).view(f"V{_RUN * runs.itemsize}")
    return 1 - len(np.unique(packed)) / len(packed)
