"""quantize convert: one command, a file llama.cpp loads, and a report of what was done."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.gguf.reader import read_gguf
from tests import oracle
from tests.cli.console import EXAMPLES, MODEL, document, quantize, succeeded
from tests.golden.imatrix.make import HERE as IMATRIX


def test_the_default_is_four_bits_in_the_current_directory(tmp_path: Path) -> None:
    done = quantize("convert", MODEL, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-llama-Q4_K_M.gguf"]
    assert "wrote tiny-llama-Q4_K_M.gguf: 1.81 MB, 4.94 bits per weight" in done.stderr
    assert "tensors: 25 q4_k, 9 f32, 5 q6_k" in done.stderr


def test_json_says_what_was_written(tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    found = document("convert", MODEL, "--bits", "8", "-o", output)
    assert (found["output"], found["written"], found["file_type"]) == (str(output), True, "Q8_0")
    assert found["nbytes"] == output.stat().st_size
    assert found["types"] == {"Q8_0": 30, "F32": 9}


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    found = document("convert", MODEL, "--dry-run", cwd=tmp_path)
    assert (found["written"], found["output"]) == (False, "tiny-llama-Q4_K_M.gguf")
    assert "would write" in quantize("convert", MODEL, "--dry-run", cwd=tmp_path).stderr
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('default = "q8_0"\n[[rule]]\ntensors = "output"\ntype = "f16"\n')
    options = ("--recipe", "mine.toml", "--tensor", "blk.0.*=q4_0", "-o", "out.gguf", "--threads", "1")
    succeeded("convert", MODEL, *options, cwd=tmp_path)
    types = {tensor.name: tensor.dtype for tensor in read_gguf(tmp_path / "out.gguf").tensors}
    expected = ("F16", "Q4_0", "Q8_0", "F32")
    names = ("output.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.0.attn_norm.weight")
    assert tuple(types[name] for name in names) == expected
    succeeded("convert", MODEL, "--recipe", "mine.toml", "--pure", cwd=tmp_path)
    assert read_gguf(tmp_path / "tiny-llama-MINE.gguf").tensors[0].dtype == "Q8_0"


def test_an_importance_matrix_reaches_the_file(tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--imatrix", IMATRIX / "tiny-llama.imatrix", "-o", tmp_path / "with.gguf")
    succeeded("convert", MODEL, "-o", tmp_path / "without.gguf")
    file = read_gguf(tmp_path / "with.gguf")
    assert file.metadata["quantize.imatrix.file"].data == "tiny-llama.imatrix"
    assert (tmp_path / "with.gguf").read_bytes() != (tmp_path / "without.gguf").read_bytes()


def test_a_float_file_becomes_what_its_checkpoint_becomes(tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--type", "bf16", "-o", "float.gguf", cwd=tmp_path)
    succeeded("convert", "float.gguf", "-o", "a.gguf", cwd=tmp_path)
    succeeded("convert", MODEL, "-o", "b.gguf", cwd=tmp_path)
    first, second = (read_gguf(tmp_path / name) for name in ("a.gguf", "b.gguf"))
    assert [(t.name, t.dtype, t.rows(0, t.row_count).tobytes()) for t in first.tensors] == [
        (t.name, t.dtype, t.rows(0, t.row_count).tobytes()) for t in second.tensors
    ]
    assert first.metadata.keys() == second.metadata.keys()


CHANCE_OF_ANOTHER_TOKEN = 0.01
"""Blocks of 4 bits are multiplied by llama.cpp with activations in 8 bits, by us with float32."""


def top_tokens(path: Path, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest next token at every place of each chunk: llama.cpp's with exact keys and values, and ours."""
    from quantize_cli.model.source import open_model
    from quantize_cli.runtime.transformer import from_model

    reference, ours = oracle.Model(path, context=chunks.shape[1], exact=True), from_model(open_model(path))
    theirs = np.stack([reference.logits(chunk).argmax(axis=1) for chunk in chunks])
    return theirs, np.stack([ours.logits(chunk).argmax(axis=1) for chunk in chunks])


@pytest.mark.parametrize("chunks", [1, None], ids=["the first chunk", "the whole text"])
def test_four_bits_say_what_they_say_in_llama_cpp(chunks: int | None, tmp_path: Path) -> None:
    from quantize_cli.evaluation.corpus import read_chunks
    from quantize_cli.model.source import open_model
    from quantize_cli.tokenizers import load_tokenizer

    oracle.library()
    path = tmp_path / "q4_k_m.gguf"
    succeeded("convert", MODEL, "--type", "q4_k_m", "-o", path)
    tokens = read_chunks(EXAMPLES / "sample.txt", load_tokenizer(open_model(path).metadata), 256, chunks)
    theirs, ours = top_tokens(path, tokens)
    assert (theirs != ours).mean() <= CHANCE_OF_ANOTHER_TOKEN


def test_a_saved_recipe_makes_the_same_plan(tmp_path: Path) -> None:
    options = ("--type", "q4_k_m", "--tensor", "blk.1.ffn_down.*=q8_0")
    document("convert", MODEL, *options, "--save-recipe", "r.toml", "-o", "out.gguf", cwd=tmp_path)
    planned = [document("plan", MODEL, *it, cwd=tmp_path) for it in (options, ("--recipe", "r.toml"))]
    steps = [[(step["name"], step["type"], step["offset"]) for step in it["tensors"]] for it in planned]
    assert steps[0] == steps[1]
    assert planned[0]["file_type"] == planned[1]["file_type"]


def test_a_dry_run_saves_no_recipe(tmp_path: Path) -> None:
    done = quantize("convert", MODEL, "--dry-run", "--save-recipe", "r.toml", cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert "would save r.toml" in done.stderr
