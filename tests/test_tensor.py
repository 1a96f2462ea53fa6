"""A tensor is read in pieces of any size, and each piece is the same as of the whole."""

import numpy as np
import pytest

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.sources import Held
from quantize_cli.model.tensor import Tensor, from_array


def stacked(*shape: int, seed: int = 0) -> Tensor:
    return from_array("w", np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def factors(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.01, 100, shape).astype(np.float32)


def test_scaled_multiplies_columns_and_then_rows() -> None:
    tensor, rows, columns = stacked(5, 4), factors(5), factors(4)
    expected = tensor.read(0, 5) * columns * rows[:, None]
    assert np.array_equal(expected, tensor.scaled(rows, columns).read(0, 5))


def test_scaled_has_columns_for_each_matrix_of_a_stack() -> None:
    tensor, columns = stacked(3, 5, 4), factors(3, 4)
    expected = tensor.read(0, 15).reshape(3, 5, 4) * columns[:, None]
    assert np.array_equal(expected.reshape(15, 4), tensor.scaled(columns=columns).read(0, 15))


def test_scaled_multiplies_the_elements_of_a_vector() -> None:
    tensor, columns = stacked(4), factors(4)
    assert np.array_equal(tensor.read(0, 1) * columns, tensor.scaled(columns=columns).read(0, 1))


@pytest.mark.parametrize("step", [1, 2, 4, 7, 15])
def test_scaled_reads_the_same_in_any_chunks(step: int) -> None:
    tensor = stacked(3, 5, 4).scaled(factors(15), factors(3, 4))
    chunks = [tensor.read(start, min(start + step, 15)) for start in range(0, 15, step)]
    assert np.array_equal(tensor.read(0, 15), np.concatenate(chunks))


def test_scaled_leaves_what_it_reads_from_as_it_is() -> None:
    tensor = stacked(5, 4)
    before = tensor.read(0, 5).copy()
    tensor.scaled(factors(5), factors(4)).read(0, 5)
    assert np.array_equal(before, tensor.read(0, 5))


def test_scaled_is_float32_that_no_file_holds() -> None:
    halves = Tensor("w", (2, 3), GgmlType.F16, Held(np.ones((2, 3), np.float16)), "w")
    tensor = halves.scaled(columns=np.float32([1e6, 1, 1e-9]))
    assert (tensor.type, tensor.stored_at, tensor.shape, tensor.name) == (GgmlType.F32, None, (2, 3), "w")
    assert np.array_equal(np.float32([[1e6, 1, 1e-9]] * 2), tensor.read(0, 2))


def test_blocks_cannot_be_scaled() -> None:
    blocks = Tensor("w", (2, 32), GgmlType.Q4_0, Held(np.ones((2, 18), np.uint8)), "file: w")
    with pytest.raises(ValueError, match="file: w: q4_0 cannot be scaled"):
        blocks.scaled(factors(2))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [((4,), None, r"\(4,\) factors for 15 rows"), (None, (2, 4), r"\(2, 4\) factors for 4 columns of 3 matrices")],
)
def test_factors_of_another_shape_are_refused(
    rows: tuple[int, ...] | None, columns: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stacked(3, 5, 4).scaled(rows and factors(*rows), columns and factors(*columns))


@pytest.mark.parametrize("step", [1, 3, 8])
def test_halves_of_heads_become_adjacent_pairs(step: int) -> None:
    tensor = from_array("w", np.arange(8, dtype=np.float32)[:, None]).with_paired_heads(2)
    rows = [tensor.read(start, min(start + step, 8)) for start in range(0, 8, step)]
    assert np.concatenate(rows)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_halves_of_a_vector_become_adjacent_pairs() -> None:
    tensor = from_array("w", np.arange(8, dtype=np.float32)).with_paired_heads(2)
    assert tensor.read(0, 1)[0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
