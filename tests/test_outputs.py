"""Nothing that is written replaces an input, a part of the source, or what is no regular file; and no file unasked."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from quantize_cli.errors import OutputError
from quantize_cli.pipeline.outputs import Outputs
from tests import checkpoints
from tests.cli.console import COMMAND, EXAMPLES, MODEL, assert_refused, environment, quantize
from tests.cli.test_errors import hole

TEXT = EXAMPLES / "sample.txt"
OUTPUT = 4


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return checkpoints.build("llama", tmp_path / "model")


def refusal(places: Outputs, *paths: Path) -> str:
    with pytest.raises(OutputError) as caught:
        places.refuse_bad(paths)
    return str(caught.value)


def test_no_file_of_a_checkpoint_is_written_to(model: Path) -> None:
    places = Outputs((model,), force=True)
    for path in model.iterdir():
        assert refusal(places, path) == f"{path}: is an input itself"
    for name in ("new.html", "config.json.bak"):
        assert refusal(places, model / name) == f"{model / name}: is a part of the source"


def test_a_gguf_file_may_lie_beside_the_checkpoint_it_is_made_of(model: Path) -> None:
    Outputs((model,), force=False).refuse_bad([model / "new.gguf"])
    (model / "new.gguf").touch()
    Outputs((model,), force=True).refuse_bad([model / "new.gguf"])
    assert refusal(Outputs((model,), force=False), model / "new.gguf").endswith("already exists")


def test_what_is_read_beside_a_named_file_is_an_input_too(model: Path, tmp_path: Path) -> None:
    places = Outputs((model / "model.safetensors",), force=True)
    assert refusal(places, model / "config.json").endswith("is an input itself")
    places.refuse_bad([model / "report.html"])
    for number in (1, 2):
        (tmp_path / f"x-0000{number}-of-00002.gguf").touch()
    places = Outputs((tmp_path / "x-00001-of-00002.gguf",), force=True)
    assert refusal(places, tmp_path / "x-00002-of-00002.gguf").endswith("is an input itself")


def test_an_input_under_another_name_is_known(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    os.link(model / "config.json", tmp_path / "twin")
    places = Outputs((tmp_path / "link",), force=True)
    for path in (tmp_path / "twin", model / "config.json"):
        assert refusal(places, path).endswith("is an input itself")
    assert refusal(places, model / "new").endswith("is a part of the source")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_a_stream_takes_no_file(name: str) -> None:
    with pytest.raises(OutputError) as caught:
        Outputs((), force=True).refuse_bad([Path(name)])
    assert (caught.value.hint or "").startswith("name a file")


def test_two_outputs_have_two_places(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert refusal(Outputs((), force=True), tmp_path / "a", tmp_path / "link" / "a").endswith("is to be written twice")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_takes_no_file_is_told_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written to" in refusal(Outputs((), force=True), tmp_path / "a")


# --- commands ----------------------------------------------------------------------------------------------------

EVAL = ("eval", "model.gguf", "--text", "text", "--ctx", "128", "--chunks", "2")
SIDE_OUTPUTS = {
    "--html of eval": (*EVAL, "--html"),
    "--save-reference": (*EVAL, "--save-reference"),
    "--junit": (*EVAL, "--reference", "other.gguf", "--max-kld", "9", "--junit"),
    "--html of compare": ("compare", "model.gguf", "other.gguf", *EVAL[2:], "--html"),
    "--html of analyze": ("analyze", "model.gguf", *EVAL[2:], "--html"),
    "--save-recipe": ("convert", "model.gguf", "--imatrix", "text", "-o", "new.gguf", "--save-recipe"),
    "-o of calibrate": ("calibrate", "model.gguf", "--text", "text", "--merge", "other.gguf", "-o"),
}  # fmt: skip


@pytest.mark.parametrize("option", SIDE_OUTPUTS)
def test_every_side_output_keeps_to_that(option: str, tmp_path: Path) -> None:
    for name in ("model.gguf", "other.gguf", "text", "there"):
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "pipe")
    names = {"text": "is an input itself", "there": "already exists", "pipe": "is a pipe, not a regular file"}
    for name, says in names.items():
        assert_refused(quantize(*SIDE_OUTPUTS[option], name, cwd=tmp_path), OUTPUT, f"{name}: {says}")
    assert [(tmp_path / name).read_text() for name in ("text", "there")] == ["text", "there"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = quantize("convert", MODEL, "--dry-run", "--save-recipe", "mine.toml", cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert "would save mine.toml\n" in done.stderr
    source = shutil.copytree(MODEL, tmp_path / "source")
    before = (source / "model.safetensors").read_bytes()
    done = quantize("convert", source, "--dry-run", "--force", "--save-recipe", source / "model.safetensors")
    assert_refused(done, OUTPUT, "model.safetensors: is an input itself")
    assert (source / "model.safetensors").read_bytes() == before


def test_a_report_is_replaced_with_force(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    options = ("eval", MODEL, "--text", TEXT, "--ctx", "128", "--chunks", "1", "--html", page)
    assert quantize(*options, "--force").returncode == 0
    assert page.read_text().startswith("<!doctype html>")


def test_what_a_killed_run_left_is_removed_by_the_next(model: Path, tmp_path: Path) -> None:
    source, folder = hole(tmp_path / "big.safetensors", rows=1 << 18), tmp_path / "out"
    folder.mkdir()
    child = subprocess.Popen(
        [*COMMAND, "convert", source, "--type", "q8_0", "--threads", "1", "-o", folder / "a.gguf"],
        stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    while not list(folder.glob(".*.unfinished")):
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # until it is held
    alive = quantize("convert", model, "--type", "f16", "-o", folder / "b.gguf")
    assert (alive.returncode, "removed" in alive.stderr, len(list(folder.iterdir()))) == (0, False, 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = quantize("convert", model, "--type", "f16", "-o", folder / "c.gguf")
    assert f"removed 1 unfinished file that a killed run left in {folder}\n" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["b.gguf", "c.gguf"]
