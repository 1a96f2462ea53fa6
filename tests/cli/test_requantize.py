"""GGUF in, GGUF out: quantized again on request, split and merged, metadata set by hand."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.reader import read_gguf
from tests import oracle
from tests.cli.console import assert_refused, quantize, succeeded

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tiny-llama"


def _tensors(*paths: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {t.name: (t.dtype, t.shape, t.rows(0, t.row_count).tobytes()) for p in paths for t in read_gguf(p).tensors}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "model.gguf"
    succeeded("convert", EXAMPLE, "-o", path, "--type", "q8_0")
    return path


def test_quantized_weights_are_not_taken_without_being_asked(whole: Path, tmp_path: Path) -> None:
    run = quantize("convert", whole, "-o", tmp_path / "out.gguf", "--type", "q4_k_m")
    assert_refused(run, 3, "already q8_0", "--allow-requantize")


def test_requantized_bytes_are_those_of_the_dequantized_weights(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    succeeded("convert", whole, "-o", out, "--type", "q4_k_m", "--allow-requantize")
    before, after = {t.name: t for t in read_gguf(whole).tensors}, read_gguf(out).tensors
    for tensor in after:
        if tensor.dtype == "F32":
            continue
        source = before[tensor.name]
        weights = quants.decode(GgmlType[source.dtype], source.rows(0, source.row_count))
        expected = quants.encode(GgmlType[tensor.dtype], weights)
        np.testing.assert_array_equal(tensor.rows(0, tensor.row_count), expected)


def test_tensors_already_of_their_type_are_copied(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    succeeded("convert", whole, "-o", out, "--type", "q8_0")
    assert _tensors(out) == _tensors(whole)


def test_split_files_hold_what_the_whole_holds_and_llama_cpp_loads_them(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    succeeded("convert", whole, "-o", out, "--type", "q8_0", "--split-size", "1MB")
    parts = sorted(tmp_path.glob("*.gguf"))
    assert [part.name for part in parts] == [f"out-{n:05d}-of-00004.gguf" for n in range(1, 5)]
    assert _tensors(*parts) == _tensors(whole)
    tokens = np.arange(5, 25)
    together, apart = (oracle.Model(path, exact=True).logits(tokens) for path in (whole, parts[0]))
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("named", [0, 2])
def test_split_files_become_one_again_whichever_is_named(whole: Path, tmp_path: Path, named: int) -> None:
    succeeded("convert", whole, "-o", tmp_path / "out.gguf", "--type", "q8_0", "--split-size", "1MB")
    part = sorted(tmp_path.glob("*.gguf"))[named]
    merged = tmp_path / "merged.gguf"
    succeeded("convert", part, "-o", merged, "--type", "q8_0")
    assert merged.read_bytes() == whole.read_bytes()


def test_a_missing_part_is_named(whole: Path, tmp_path: Path) -> None:
    succeeded("convert", whole, "-o", tmp_path / "out.gguf", "--type", "q8_0", "--split-size", "1MB")
    (tmp_path / "out-00003-of-00004.gguf").unlink()
    run = quantize("inspect", tmp_path / "out-00001-of-00004.gguf")
    assert run.returncode == 0  # one file is worth a look by itself
    run = quantize("convert", tmp_path / "out-00001-of-00004.gguf", "-o", tmp_path / "merged.gguf")
    assert_refused(run, 3, "out-00003-of-00004.gguf: missing")


def test_a_part_that_exists_is_not_replaced_and_none_is_written(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "out-00002-of-00004.gguf").write_text("mine")
    run = quantize("convert", whole, "-o", tmp_path / "out.gguf", "--type", "q8_0", "--split-size", "1MB")
    assert_refused(run, 4, "out-00002-of-00004.gguf: already exists")
    assert [path.name for path in tmp_path.iterdir()] == ["out-00002-of-00004.gguf"]


@pytest.mark.parametrize("size", ["0", "many", "-1GB", "1PB"])
def test_a_split_size_that_is_none_is_refused(whole: Path, tmp_path: Path, size: str) -> None:
    run = quantize("convert", whole, "-o", tmp_path / "out.gguf", f"--split-size={size}")
    assert_refused(run, 2, "not a size")


def test_metadata_is_kept_or_set(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    succeeded("convert", whole, "-o", out, "--type", "q8_0", "--set", "general.name=Mine", "--set", "a.b=u32:7")
    before, after = read_gguf(whole).metadata, read_gguf(out).metadata
    assert (after.pop("general.name").data, after.pop("a.b").data) == ("Mine", 7)
    before.pop("general.name")
    assert {key: str(value) for key, value in after.items()} == {key: str(value) for key, value in before.items()}


def test_what_has_its_type_already_stays_as_it_is_whatever_the_text(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    text = EXAMPLE.parent / "sample.txt"
    calibrated = ("--calibrate", text, "--ctx", 128, "--chunks", 2)
    succeeded("convert", whole, "-o", out, "--type", "q8_0", "--allow-requantize", *calibrated)
    assert _tensors(out) == _tensors(whole)
