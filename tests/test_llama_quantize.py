"""Whole files beside those of `llama-quantize`, where it is on the PATH: `make compare`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.pipeline import recipe

MODEL = Path(__file__).resolve().parents[1] / "examples" / "tiny-llama"
REFERENCE = shutil.which("llama-quantize")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REFERENCE is None, reason="llama-quantize is not on the PATH"),
]


def convert(source: Path, output: Path, mix: str) -> str:
    """Make the file with our console entry; gives what went wrong, or nothing."""
    command = [sys.executable, "-m", "quantize_cli", "convert", str(source), "--output", str(output), "--type", mix]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("floats") / "float.gguf"
    assert convert(MODEL, path, "f32") == ""
    return path


@pytest.mark.parametrize("source", ["checkpoint", "gguf"])
@pytest.mark.parametrize("mix", recipe.presets())
def test_files_are_those_of_llama_quantize(mix: str, source: str, floats: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    if refused := convert(MODEL if source == "checkpoint" else floats, ours, mix):
        pytest.skip(refused.partition("\n")[0])
    subprocess.run([str(REFERENCE), floats, theirs, mix.upper(), "2"], check=True, capture_output=True)
    expected, found = read_gguf(theirs), read_gguf(ours)
    assert {t.name: (t.dtype, t.shape) for t in expected.tensors} == {t.name: (t.dtype, t.shape) for t in found.tensors}
    stored = {t.name: t.rows(0, t.row_count).tobytes() for t in found.tensors}
    assert [t.name for t in expected.tensors if t.rows(0, t.row_count).tobytes() != stored[t.name]] == []
    assert {k: str(v.data) for k, v in expected.metadata.items()} == {k: str(v.data) for k, v in found.metadata.items()}
