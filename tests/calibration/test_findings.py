"""Experts never reached and channels far above the rest are found."""

import numpy as np

from quantize_cli.calibration.statistics.findings import find
from quantize_cli.formats.imatrix import Entry


def entry(squares: list[list[float]], counts: list[int]) -> Entry:
    return Entry(np.array(squares, np.float64), np.array(counts, np.float64), None)


def test_a_channel_is_an_outlier_beyond_100_times_the_median_of_its_matrix() -> None:
    (found,) = find({"a": entry([[1, 1, 100, 1, 1], [2, 202, 2, 2, 600]], [3, 3])})
    assert (found.outliers, found.worst, found.worst_ratio) == (2, (1, 4), 300)
    assert (found.inputs, found.experts_without_tokens, found.coverage) == (6, (), 1)


def test_channels_that_are_always_zero_do_not_lower_the_median() -> None:
    (found,) = find({"a": entry([[0, 0, 0, 4, 8, 4]], [1])})
    assert (found.outliers, found.worst, found.worst_ratio) == (0, (0, 4), 2)


def test_experts_never_reached_are_numbered() -> None:
    b, a = entry([[0, 0], [1, 1], [0, 0], [3, 3]], [0, 1, 0, 9]), entry([[0, 0]], [0])
    found = find({"b": b, "a": a})
    assert [(it.name, it.experts_without_tokens, it.coverage, it.worst_ratio) for it in found] == [
        ("a", (0,), 0, 0),
        ("b", (0, 2), 0.5, 1),
    ]
