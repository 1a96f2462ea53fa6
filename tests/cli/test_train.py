"""quantize train: what it prints, and what it says where torch is not installed."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from quantize_cli.pipeline.job import Job
from tests.checkpoints import build
from tests.cli.console import EXAMPLES, MODEL, assert_refused, environment, quantize
from tests.cli.test_help import command, loaded_by

TEXT = EXAMPLES / "sample.txt"
SMALL = ("--type", "q4_0", "--start-method", "hqq", "--method", "qat", "--steps", "2", "--ctx", "32", "-j", "1")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command where torch cannot be found."""
    program = f"""
import sys
sys.modules["torch"] = None
sys.argv[1:] = {[str(argument) for argument in arguments]!r}
from quantize_cli.cli import main
main()
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment()
    )


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    done = without_torch("train", MODEL, "--text", TEXT, "-o", tmp_path / "out.gguf")
    assert_refused(done, 2, "error: training needs torch", "hint: pip install 'quantize-cli[train]'")
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_rest_works(tmp_path: Path) -> None:
    done = without_torch("convert", MODEL, "-o", tmp_path / "out.gguf")
    assert (done.returncode, (tmp_path / "out.gguf").exists()) == (0, True), done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("plan", MODEL)])
def test_nothing_else_imports_torch(arguments: tuple[object, ...]) -> None:
    assert "torch" not in loaded_by(command(*arguments))


def test_the_options_of_the_start_are_those_of_convert() -> None:
    from quantize_cli.cli.terminal.train_job import _OF_CONVERSION

    assert set(_OF_CONVERSION) <= set(Job.__dataclass_fields__)


@needs_torch
def test_options_are_the_fields_of_a_train_job() -> None:
    from dataclasses import fields

    from quantize_cli.cli.terminal.train_job import _Options
    from quantize_cli.train.runner.job import TrainJob

    own = {field.name for field in fields(TrainJob)} - {"conversion"}
    assert set(_Options.__annotations__) == own | {"output", "methods", "special"}


@needs_torch
def test_json_is_the_only_thing_on_stdout(tmp_path: Path) -> None:
    build("llama", tmp_path / "model")
    done = quantize("train", tmp_path / "model", "--text", TEXT, "-o", tmp_path / "out.gguf", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["steps"], document["tokens"], document["written"]) == (2, 2 * 4 * 32, True)
    assert document["nbytes"] == (tmp_path / "out.gguf").stat().st_size
    assert document["loss_after"] <= document["loss_before"]
    assert document["peak_nbytes"] > 0
    assert sum(document["memory"].values()) == document["memory_nbytes"]
    again = quantize("train", tmp_path / "model", "--text", TEXT, "-o", tmp_path / "out.gguf", *SMALL)
    assert_refused(again, 4, "out.gguf: already exists", "--force replaces it")


@needs_torch
def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert_refused(quantize("train", MODEL, "--text", TEXT), 2, "missing option '--output'")
    assert_refused(quantize("train", MODEL, "-o", tmp_path / "out.gguf"), 2, "missing option '--text'")
    nonsense = quantize("train", MODEL, "--text", TEXT, "-o", tmp_path / "out.gguf", "--resume", "--force")
    assert_refused(nonsense, 2, "--resume and --force")
