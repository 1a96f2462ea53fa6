"""convert to a budget: what is written keeps it, and can be made again from the recipe it saves."""

from pathlib import Path

import pytest

from quantize_cli.certificate.statement import LARGEST
from quantize_cli.formats.gguf.reader import read_gguf
from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize

TEXT = EXAMPLES / "sample.txt"
CALIBRATED = ("--calibrate", TEXT, "--ctx", 128, "--chunks", 4)


@pytest.mark.parametrize("size", [1_202_944, 1_500_000])
def test_a_file_is_at_most_as_large_as_asked_and_nearly_so(size: int, tmp_path: Path) -> None:
    found = document("convert", MODEL, "--size", size, *CALIBRATED, "-o", tmp_path / "made.gguf")
    assert found["nbytes"] == (tmp_path / "made.gguf").stat().st_size
    assert 0.995 * size < found["nbytes"] <= size


def test_bits_per_weight_are_at_most_those_asked_for(tmp_path: Path) -> None:
    found = document("convert", MODEL, "--bpw", 4.25, *CALIBRATED, "-o", tmp_path / "made.gguf")
    assert 4.25 * 0.995 < found["bits_per_weight"] <= 4.25


def test_the_saved_recipe_gives_the_same_types(tmp_path: Path) -> None:
    first, again = tmp_path / "first.gguf", tmp_path / "again.gguf"
    document("convert", MODEL, "--size", "1.4MB", *CALIBRATED, "--save-recipe", tmp_path / "r.toml", "-o", first)
    document("convert", MODEL, "--recipe", tmp_path / "r.toml", *CALIBRATED, "-o", again)
    types = [[(tensor.name, tensor.dtype) for tensor in read_gguf(path).tensors] for path in (first, again)]
    assert types[0] == types[1]


def test_a_certificate_counts_as_part_of_the_file(tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    document("convert", MODEL, "--size", 1_400_000, *CALIBRATED, "--certify", TEXT, "-o", made)
    assert 1_400_000 * 0.995 - LARGEST < made.stat().st_size <= 1_400_000


def test_an_override_keeps_its_type_within_the_budget(tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    document("convert", MODEL, "--size", "1.5MB", "--tensor", "output.weight=q8_0", *CALIBRATED, "-o", made)
    assert {tensor.name: tensor.dtype for tensor in read_gguf(made).tensors}["output.weight"] == "Q8_0"
    assert made.stat().st_size <= 1_500_000


def test_a_budget_chooses_among_the_types_it_is_given(tmp_path: Path) -> None:
    found = document(
        "convert", MODEL, "--size", "1.5MB", "--types", "q3_k,q5_k", *CALIBRATED, "-o", tmp_path / "m.gguf"
    )
    assert set(found["types"]) == {"F32", "Q3_K", "Q5_K"}


def test_too_small_a_budget_is_answered_with_no_and_the_smallest_size(tmp_path: Path) -> None:
    done = quantize("convert", MODEL, "--size", "300kB", *CALIBRATED, "-o", tmp_path / "made.gguf")
    assert_refused(done, 1, "300000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--size", "1MB", "--type", "q4_k", "--calibrate", TEXT), "a budget"),
        (("--size", "1MB", "--bpw", "4", "--calibrate", TEXT), "--bpw"),
        (("--size", "1MB"), "text"),
        (("--size", "many", "--calibrate", TEXT), "--size"),
        (("--types", "q4_k", "--calibrate", TEXT), "--types"),
        (("--size", "1MB", "--types", "q4_k,many", "--calibrate", TEXT), "many"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options: tuple[object, ...], named: str, tmp_path: Path) -> None:
    assert_refused(quantize("convert", MODEL, *options, "-o", tmp_path / "made.gguf"), 2, named)
