"""The points that IQ types may use for a few neighbouring weights, and which points to try in place of any other.

codebooks/<name>.npy holds one uint16 per point in index order: the point's codes from the lowest bits up, eight of
two bits (levels 0..2) or four of three bits (levels 0..7). `python -m tests.golden.quants.codebooks` reads them out
of ggml. In kernels a point is an int32 of four bits per code, so that eight codes fit whatever their range.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

ELSEWHERE = -(2**31)
"""The bit that marks a point as standing in for another, which is not in the book: the int32 is negative."""

_ROW = 8


@dataclass(frozen=True)
class Codebook:
    """Points and, for every combination of codes, the points to try for it.

    A combination's number counts its codes as digits in base `levels`, the first code lowest.
    """

    codes: np.ndarray
    """(points, length) u1."""
    number: np.ndarray
    """(combinations,) i2: the index of the point with these codes, or -1."""
    rows: np.ndarray
    """(n, 8) i4: points to try, nearest shells first, in the reference's order; the last row of a list is filled up
    from the row before, so that no column gains a rival, or with the point alone where there is one row only."""
    entries: np.ndarray
    """(combinations,) u4: the first of its rows << 8, and how many there are to search: none where it is a point."""
    spare: np.ndarray
    """(combinations,) u1: places of its last row that hold no candidate of their own."""


@cache
def points(name: str) -> np.ndarray:
    """The codes of the named codebook, (points, length) u1."""
    with resources.files(__package__).joinpath(f"{name}.npy").open("rb") as file:
        packed = np.load(file)
    length, width = (4, 3) if name.startswith("iq3") else (8, 2)
    codes: np.ndarray = (packed[:, None] >> width * np.arange(length) & (1 << width) - 1).astype(np.uint8)
    return codes


@cache
def load(name: str, shells: int) -> Codebook:
    """The named codebook, with the points of the `shells` smallest distances around each combination that is none.

    Source: iq2xs_init_impl, iq3xs_init_impl.
    """
    codes = points(name)
    length, levels = codes.shape[1], 8 if name.startswith("iq3") else 3
    digits = levels ** np.arange(length)
    number = np.full(levels**length, -1, np.int16)
    number[codes @ digits] = np.arange(len(codes))
    combinations = (np.arange(levels**length)[:, None] // digits % levels).astype(np.uint8)
    return Codebook(codes, number, *_lists(codes, combinations, number, shells))


def as_words(codes: np.ndarray) -> np.ndarray:
    """Codes (n, length) u1 -> int32 words of four bits each. Of two-bit codes every second has its bit 2 set.

    That bit makes two codes of two bits and two tables of four entries look like one table of eight.
    """
    length = codes.shape[1]
    marked = codes | (np.arange(length) % 2 * 4 if length == 8 else 0)
    places = marked.astype(np.uint32) << 4 * np.arange(length, dtype=np.uint32)
    words: np.ndarray = places.sum(1, dtype=np.uint32).view(np.int32)
    return words


def _lists(
    codes: np.ndarray, combinations: np.ndarray, number: np.ndarray, shells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Codebook.rows`, `Codebook.entries` and `Codebook.spare`."""
    combination, point, shell = _nearest(codes, combinations, shells)
    order = np.lexsort((point, shell, combination))
    combination, point = combination[order], point[order]
    keep = (number[combination] < 0) | (number[combination] == point)
    combination, point = combination[keep], point[keep]
    counts = np.bincount(combination, minlength=len(combinations))
    per_list = -(-counts // _ROW)
    first = np.cumsum(per_list) - per_list
    start = np.cumsum(counts) - counts
    words = as_words(codes)[point] | np.where(number[combination] < 0, np.int32(ELSEWHERE), np.int32(0))
    rows = np.repeat(words[start], per_list * _ROW)
    at = _ROW * first[combination] + np.arange(len(words)) - start[combination]
    rows[at] = words
    spare = np.setdiff1d(np.arange(len(rows)), at)
    later = spare[spare // _ROW > first[np.repeat(np.arange(len(first)), per_list)[spare // _ROW]]]
    rows[later] = rows[later - _ROW]
    entries = (first << 8 | np.where(number < 0, per_list, 0)).astype(np.uint32)
    return rows.reshape(-1, _ROW), entries, (per_list * _ROW - counts).astype(np.uint8)


def _nearest(codes: np.ndarray, combinations: np.ndarray, shells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a combination and a point whose distance is among its `shells` smallest, and that squared distance."""
    a, b = combinations.astype(np.float32), codes.astype(np.float32)
    distance = ((a**2).sum(1)[:, None] + (b**2).sum(1)) - 2 * a @ b.T  # small whole numbers, exact in float32
    reach = distance.min(1, keepdims=True)
    for _ in range(shells - 1):
        reach = np.where(distance > reach, distance, np.inf).min(1, keepdims=True)
    combination, point = np.nonzero(distance <= reach)
    return combination, point, distance[combination, point]
