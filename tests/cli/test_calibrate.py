"""quantize calibrate: an importance matrix that convert takes, and what it shows of the model and the text."""

import os
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.formats.imatrix import read_imatrix
from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded
from tests.runtime.mixtures import five_experts

TEXT = EXAMPLES / "sample.txt"
SHORT = ("--text", TEXT, "--ctx", "32", "--chunks", "2")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return five_experts(tmp_path_factory.mktemp("mixture"))


def test_what_is_written_is_said_and_convert_takes_it(tmp_path: Path) -> None:
    done = quantize("calibrate", MODEL, *SHORT, cwd=tmp_path)
    thin, wrote = done.stderr.splitlines()
    assert thin.startswith("warning: 64 tokens are read, fewer than the 512 columns of blk.0.ffn_down.weight")
    assert wrote.startswith("wrote imatrix.gguf: 28 weights, 2 chunks of 32 tokens, in "), done.stderr
    assert done.stdout == "no channel has more than 100 times the median mean square of its matrix\n"
    succeeded("convert", MODEL, "--imatrix", "imatrix.gguf", "-o", "out.gguf", cwd=tmp_path)
    metadata = document("inspect", "out.gguf", cwd=tmp_path)["metadata"]
    said = {key: value for key, value in metadata.items() if key.startswith("quantize.imatrix.")}
    assert list(said.values()) == ["imatrix.gguf", "sample.txt", 28, 2]


def test_the_document_says_what_was_collected(tmp_path: Path) -> None:
    first, whole = tmp_path / "first.gguf", tmp_path / "whole.gguf"
    document("calibrate", MODEL, *SHORT[:-1], "1", "-o", first)
    found = document("calibrate", MODEL, *SHORT, "-o", first, "--resume", "--save-every", "1")
    assert (found["chunks"], found["ctx"], found["resumed"], found["datasets"]) == (2, 32, 1, ["sample.txt"])
    assert (found["output"], found["model"], found["merged"]) == (str(first), str(MODEL), [])
    item = next(item for item in found["tensors"] if item["name"] == "blk.3.ffn_down.weight")
    assert (item["matrices"], item["columns"], item["inputs"], item["coverage"]) == (1, 512, 64, 1)
    merged = document("calibrate", MODEL, "--merge", first, "--merge", first, "-o", whole)
    assert (merged["chunks"], merged["ctx"], merged["merged"]) == (4, 32, [str(first)] * 2)
    assert read_imatrix(whole).entries["blk.0.attn_q.weight"].counts.tolist() == [128]


def test_experts_never_reached_are_named(mixture: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.gguf"
    done = quantize("calibrate", mixture, *SHORT, "--process-output", "-o", path)
    lines = [line.split() for line in done.stdout.splitlines()]
    for part in ("down", "gate", "up"):
        assert [f"blk.0.ffn_{part}_exps.weight", "80.00", "%", "4"] in lines, done.stdout
    assert "warning: where an expert was never reached" in done.stderr
    entries = read_imatrix(path).entries
    assert "output.weight" in entries
    assert entries["blk.0.ffn_up_exps.weight"].counts.tolist()[4] == 0
    found = document("calibrate", mixture, *SHORT, "-o", path, "--force")
    items = {item["name"]: (item["unreached"], item["inputs"]) for item in found["tensors"]}
    assert items["blk.0.ffn_up_exps.weight"] == ([4], 2 * 64)
    assert items["blk.0.ffn_gate_inp.weight"] == ([], 64)


def test_an_output_that_is_there_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "i.gguf"
    path.write_bytes(b"old")
    command = ("calibrate", MODEL, *SHORT, "-o", path)
    assert_refused(quantize(*command), 4, "i.gguf: already exists", "hint: --resume continues it, --force replaces")
    assert_refused(quantize(*command, "--resume"), 3, "i.gguf: ")
    assert path.read_bytes() == b"old"
    succeeded(*command, "--force")
    assert read_imatrix(path).chunks == 2


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ((), 2, "missing option '--text'"),
        (("--text", "absent.txt"), 3, "absent.txt: "),
        (("--text", TEXT, "--ctx", "100000"), 3, "sample.txt: the text is "),
        (("--text", TEXT, "--resume", "--force"), 2, "--resume and --force"),
        (("--text", TEXT, "--save-every", "0"), 2, "--save-every"),
        (("--text", TEXT, "-o", "absent/i.gguf"), 4, "there is no directory absent"),
        (("--text", TEXT, "-o", "."), 4, "is a directory"),
        (("--text", "text.txt", "-o", "text.txt", "--force"), 4, "text.txt: is an input itself"),
        (("--merge", "absent.gguf"), 3, "absent.gguf: no such file"),
        (("--merge", "text.txt"), 3, "text.txt: "),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    options: tuple[Any, ...], code: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("Once upon a time\n")
    assert_refused(quantize("calibrate", MODEL, *options, cwd=tmp_path), code, says)
    assert os.listdir(tmp_path) == ["text.txt"]  # noqa: PTH208
