"""embed prints a line of numbers for each text; other commands refuse an encoder in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantize_cli import load
from quantize_cli.errors import ExitCode
from tests.cli.console import quantize, succeeded
from tests.golden.families.variants import build


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("bert", tmp_path_factory.mktemp("encoder") / "bert")


def test_each_text_becomes_a_line(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a model\nof numbers\n")
    said = succeeded("embed", encoder, "--text", "the fox", "--file", tmp_path / "texts.txt")
    rows = np.array([json.loads(line) for line in said.splitlines()], np.float32)
    assert np.array_equal(rows, load(encoder).embed(["the fox", "a model", "of numbers"]))


def test_one_document_tells_tokens_and_pooling(encoder: Path) -> None:
    document = json.loads(succeeded("embed", encoder, "--text", "the fox", "--pooling", "cls", "--unscaled", "--json"))
    assert (document["pooling"], document["normalized"], document["embeddings"][0]["tokens"]) == ("cls", False, 4)


@pytest.mark.parametrize(
    "command",
    [
        ("run", "-p", "a"), ("chat", "-p", "a"), ("eval", "--text", __file__), ("analyze", "--text", __file__),
        ("convert", "--calibrate", __file__, "--type", "q4_k", "-o", "out.gguf"),
    ],
)  # fmt: skip
def test_what_needs_predictions_refuses_an_encoder(command: tuple[str, ...], encoder: Path, tmp_path: Path) -> None:
    done = quantize(command[0], encoder, *command[1:], cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == ExitCode.INPUT
    assert len(errors) == 1
    assert "architecture 'bert' is an encoder: it gives embeddings of texts" in errors[0]
