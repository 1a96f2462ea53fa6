"""What is spelled piece by piece is what json.dumps spells at once."""

import json
from typing import Any

import numpy as np
import pytest

from quantize_cli.cli.terminal.json import json_pieces


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"a": [], "b": {}, "c": None, "d": True},
        {"é": ["\ud800\n", 1, -0.5, 1e-05], "nested": [[1, [2]], {"x": {"y": (3,)}}]},
    ],
)
def test_a_document_is_spelled_as_at_once(document: Any) -> None:
    assert "".join(json_pieces(document)) == json.dumps(document, ensure_ascii=False, indent=1)


def test_numpy_values_are_spelled_as_pythons() -> None:
    values = {"a": np.arange(5000, dtype=np.uint8), "b": np.float32(0.5), "c": np.array([True, False])}
    expected = {"a": [n % 256 for n in range(5000)], "b": 0.5, "c": [True, False]}
    assert json.loads("".join(json_pieces(values))) == expected


def test_numbers_json_has_no_word_for_are_text() -> None:
    assert json.loads("".join(json_pieces([float("nan"), np.float32("-inf")]))) == ["nan", "-inf"]
