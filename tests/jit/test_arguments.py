"""An operation takes what it declares, by name, and nothing else."""

import numpy as np
import pytest

from quantize_cli.jit.arguments import Arguments, f32_array, f32_number, number

ARGUMENTS = Arguments(x=f32_array, scale=f32_number, count=number)
X = np.zeros((2, 3), np.float32)


def test_words_are_in_the_order_of_the_declaration() -> None:
    words = ARGUMENTS.words({"count": 7, "scale": 0.5, "x": X})
    assert words.tolist() == [0, X.ctypes.data, 2, 3, int(np.float32(0.5).view(np.int32)), 7]


@pytest.mark.parametrize("values", [{"x": X, "scale": 1.0}, {"x": X, "scale": 1.0, "count": 1, "other": 1}])
def test_names_that_are_missing_or_unknown_are_refused(values: dict[str, np.ndarray | float]) -> None:
    with pytest.raises(TypeError, match="takes x, scale, count"):
        ARGUMENTS.words(values)


@pytest.mark.parametrize("x", [X.astype(float), X.T, 1.0], ids=["another dtype", "not contiguous", "a number"])
def test_arrays_are_what_was_declared(x: np.ndarray | float) -> None:
    with pytest.raises(TypeError, match="argument 'x' of an operation is a contiguous array of float32"):
        ARGUMENTS.words({"x": x, "scale": 1.0, "count": 1})
