"""Importance matrices beside those of `llama-imatrix`, where it is on the PATH: `make compare`."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.imatrix import Entry, ImportanceFile, read_imatrix
from tests.cli.console import EXAMPLES, MODEL, succeeded
from tests.runtime.mixtures import five_experts

REFERENCE, QUANTIZE = shutil.which("llama-imatrix"), shutil.which("llama-quantize")
TEXT = EXAMPLES / "sample.txt"
EXACT = ("-fa", "off", "-ctk", "f32", "-ctv", "f32")
"""Attention without the float16 that llama.cpp keeps keys and values in unless told."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REFERENCE is None, reason="llama-imatrix is not on the PATH"),
]


def dense(folder: Path) -> Path:
    path = folder / "dense.gguf"
    succeeded("convert", MODEL, "--type", "f32", "-o", path)
    return path


@pytest.fixture(scope="module", params=[dense, five_experts], ids=["dense", "experts"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build: Callable[[Path], Path] = request.param
    return build(tmp_path_factory.mktemp("model"))


def theirs(path: Path, model: Path, *options: Any) -> Path:
    command = [REFERENCE, "-m", model, "-o", path, "--no-ppl", "-t", "2", *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return path


def largest_difference(expected: dict[str, Entry], found: dict[str, Entry]) -> float:
    """Of any sum, as a share of it, given that all names and counts are the same."""
    assert sorted(expected) == sorted(found)
    largest = 0.0
    for name, entry in expected.items():
        assert np.array_equal(entry.counts, found[name].counts), name
        reached = entry.squares > 0
        assert np.array_equal(reached, found[name].squares > 0), name
        largest = max(largest, np.abs(found[name].squares[reached] / entry.squares[reached] - 1).max(initial=0))
    return largest


def origin(file: ImportanceFile) -> tuple[int, int]:
    return file.chunks, file.context


@pytest.mark.parametrize(("options", "near"), [((), 2e-3), (EXACT, 2e-4)], ids=["as it is", "float32 attention"])
@pytest.mark.parametrize("context", [256, 128])
def test_every_sum_is_that_of_llama_imatrix(
    context: int, options: tuple[str, ...], near: float, model: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours.gguf"
    succeeded("calibrate", model, "--text", TEXT, "--ctx", context, "--process-output", "-o", ours)
    path = theirs(tmp_path / "theirs.gguf", model, "-f", TEXT, "-c", context, "--process-output", *options)
    expected, found = read_imatrix(path), read_imatrix(ours)
    assert origin(expected) == origin(found)
    assert largest_difference(expected.entries, found.entries) < near


def test_what_llama_imatrix_leaves_out_is_counted(tmp_path: Path) -> None:
    """It passes over batches of less than 16 tokens: of three chunks in parts of 512 tokens the last six are left."""
    model, ours = dense(tmp_path), tmp_path / "ours.gguf"
    text = ("-f", TEXT, "-c", "512", "--chunks", "3")
    succeeded("calibrate", model, "--text", TEXT, "--ctx", "512", "--chunks", "3", "-o", ours)
    found, less = read_imatrix(ours), read_imatrix(theirs(tmp_path / "less.gguf", model, *text))
    assert (found.chunks, less.chunks) == (3, 2)
    assert less.entries["blk.0.attn_q.weight"].counts.tolist() == [3 * 512 - 6]
    whole = read_imatrix(theirs(tmp_path / "whole.gguf", model, *text, "-ub", "2048", *EXACT))
    assert origin(whole) == origin(found)
    assert largest_difference(whole.entries, found.entries) < 2e-4


def test_each_reads_what_the_other_wrote_and_adds_it(model: Path, tmp_path: Path) -> None:
    ours, reread, both = tmp_path / "ours.gguf", tmp_path / "reread.gguf", tmp_path / "both.gguf"
    succeeded("calibrate", model, "--text", TEXT, "--ctx", "256", "-o", ours)
    found = read_imatrix(ours)
    theirs(reread, model, "-c", "256", "--in-file", ours)
    assert origin(read_imatrix(reread)) == origin(found)
    assert largest_difference(found.entries, read_imatrix(reread).entries) < 1e-6
    theirs(both, model, "-c", "256", "--in-file", ours, "--in-file", ours)
    succeeded("calibrate", model, "--merge", reread, "--merge", ours, "--ctx", "256", "-o", tmp_path / "sum.gguf")
    summed, expected = read_imatrix(tmp_path / "sum.gguf"), read_imatrix(both)
    assert origin(expected) == origin(summed)
    assert largest_difference(expected.entries, summed.entries) < 1e-6


@pytest.mark.skipif(QUANTIZE is None, reason="llama-quantize is not on the PATH")
@pytest.mark.parametrize("mix", ["q4_k_m", "iq2_xxs"])
@pytest.mark.parametrize("collector", ["ours", "theirs"])
def test_both_quantize_alike_by_the_same_matrix(collector: str, mix: str, tmp_path: Path) -> None:
    model, matrix = dense(tmp_path), tmp_path / "imatrix.gguf"
    if collector == "ours":
        succeeded("calibrate", model, "--text", TEXT, "--ctx", "256", "-o", matrix)
    else:
        subprocess.run([str(REFERENCE), "-m", model, "-f", TEXT.name, "-c", "256", "-o", matrix, "--no-ppl"],
                       check=True, capture_output=True, cwd=EXAMPLES)  # fmt: skip
    made = {"quantize": tmp_path / "quantize.gguf", "llama": tmp_path / "llama.gguf"}
    succeeded("convert", model, "--type", mix, "--imatrix", matrix, "-o", made["quantize"])
    command = [str(QUANTIZE), "--imatrix", matrix.name, model, made["llama"], mix.upper(), "2"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    expected, found = read_gguf(made["llama"]), read_gguf(made["quantize"])
    stored = {t.name: (t.dtype, t.rows(0, t.row_count).tobytes()) for t in found.tensors}
    assert [t.name for t in expected.tensors if (t.dtype, t.rows(0, t.row_count).tobytes()) != stored[t.name]] == []
    assert {k: str(v.data) for k, v in expected.metadata.items()} == {k: str(v.data) for k, v in found.metadata.items()}
