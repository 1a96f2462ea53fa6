"""quantize plan: what convert would do, to the byte."""

from pathlib import Path

from quantize_cli.formats.gguf.reader import read_gguf
from tests.cli.console import MODEL, document, succeeded


def test_the_plan_is_what_convert_writes(tmp_path: Path) -> None:
    planned = document("plan", MODEL, "--bits", "5", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    succeeded("convert", MODEL, "--bits", "5", cwd=tmp_path)
    path = tmp_path / planned["output"]
    file = read_gguf(path)
    assert planned["nbytes"] == path.stat().st_size
    assert [(t["name"], t["shape"], t["type"], t["offset"], t["nbytes"]) for t in planned["tensors"]] == [
        (t.name, list(t.shape), t.dtype, t.offset, t.nbytes) for t in file.tensors
    ]
    assert all(tensor["reason"] and tensor["from"] == "BF16" for tensor in planned["tensors"])


def test_every_tensor_is_a_line_with_its_reason(tmp_path: Path) -> None:
    said = succeeded("plan", MODEL, "--tensor", "blk.3.ffn_down.weight=q8_0", cwd=tmp_path)
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert lines["blk.3.ffn_down.weight"].endswith("q4_k_m: blk.3.ffn_down.weight")
    assert lines["output_norm.weight"].endswith("a vector, kept in f32")
    assert "bytes" in lines["size"]
    assert "free" in lines["size"]
    assert not [line for line in said.splitlines() if line != line.rstrip()]


def test_stdout_is_data_only(tmp_path: Path) -> None:
    assert succeeded("plan", MODEL, cwd=tmp_path).startswith("tensor ")
