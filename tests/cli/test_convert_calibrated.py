"""quantize convert --calibrate: whatever the method, a file of the planned size that runs, and gptq's loses less."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.formats.gguf.reader import read_gguf
from tests.cli.console import COMMAND, EXAMPLES, MODEL, assert_refused, document, environment, quantize, succeeded
from tests.runtime.mixtures import five_experts

TEXT = EXAMPLES / "sample.txt"
CUT = ("--calibrate", TEXT, "--ctx", "128", "--chunks", "4")
SMALL = ("--type", "f16", "--tensor", "blk.1.*=q2_k")
"""One layer in few bits, the others as they are: as much as shows what a method does."""
METHODS = {
    "gptq": (*CUT, "--method", "gptq"),
    "zeroquant": (*CUT, "--method", "zeroquant"),
    "imatrix": (*CUT, "--method", "imatrix"),
    "hqq": ("--method", "hqq"),
    "awq, gptq": (*CUT, "--method", "awq", "--method", "gptq"),
    "smoothquant": (*CUT, "--method", "smoothquant"),
    "best": ("--search", "best"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example, rounded by each method and by none."""
    folder = tmp_path_factory.mktemp("calibrated")
    made = {}
    for name, options in {"none": (), **METHODS}.items():
        made[name] = folder / f"{name.replace(', ', '-')}.gguf"
        succeeded("convert", MODEL, *SMALL, *options, "-o", made[name])
    return made


@pytest.fixture(scope="module")
def divergences(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The mean KL divergence from the float model, on the very text that was calibrated on."""
    reference = tmp_path_factory.mktemp("reference") / "float.ref"
    options = ("--text", TEXT, "--ctx", "128", "--chunks", "4")
    succeeded("eval", MODEL, *options, "--save-reference", reference)
    return {
        name: document("eval", path, *options, "--reference", reference)["kld_mean"] for name, path in files.items()
    }


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_file_of_the_same_tensors(name: str, files: dict[str, Path]) -> None:
    plain, found = read_gguf(files["none"]), read_gguf(files[name])
    assert [(t.name, t.dtype, t.shape) for t in plain.tensors] == [(t.name, t.dtype, t.shape) for t in found.tensors]
    assert any(
        not np.array_equal(a.rows(0, a.row_count), b.rows(0, b.row_count))
        for a, b in zip(plain.tensors, found.tensors, strict=True)
    )


def test_gptq_loses_less_than_any_other(divergences: dict[str, float]) -> None:
    others = {name: kld for name, kld in divergences.items() if name not in ("gptq", "awq, gptq")}
    assert divergences["gptq"] < 0.7 * divergences["none"]
    assert divergences["gptq"] < min(others.values())
    assert divergences["awq, gptq"] < min(others.values())


@pytest.mark.parametrize("name", ["zeroquant", "imatrix"])
def test_other_uses_of_a_text_lose_less_than_none(name: str, divergences: dict[str, float]) -> None:
    assert divergences[name] < divergences["none"]


def test_a_text_alone_is_for_gptq(files: dict[str, Path], tmp_path: Path) -> None:
    done = quantize("convert", MODEL, *SMALL, *CUT, "-o", tmp_path / "out.gguf")
    assert "calibrating on 512 tokens, 4 chunks of 128" in done.stderr
    assert files["gptq"].read_bytes() == (tmp_path / "out.gguf").read_bytes()


def test_the_document_says_what_was_written_and_nothing_else_is_said(tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    done = quantize("convert", MODEL, *SMALL, *METHODS["imatrix"], "-o", output, "--json")
    found = json.loads(done.stdout)
    assert (found["written"], found["file_type"], done.stderr) == (True, "F16", "")
    assert found["nbytes"] == output.stat().st_size


def test_a_dry_run_plans_what_would_be_written(files: dict[str, Path], tmp_path: Path) -> None:
    found = document("convert", MODEL, *SMALL, *METHODS["gptq"], "--dry-run", cwd=tmp_path)
    assert found["nbytes"] == files["gptq"].stat().st_size
    assert list(tmp_path.iterdir()) == []


def test_types_that_need_an_importance_may_be_had_with_a_text(tmp_path: Path) -> None:
    assert_refused(quantize("convert", MODEL, "--type", "iq2_xxs", "--dry-run"), 3, "importance")
    found = document("convert", MODEL, "--type", "iq2_xxs", *CUT, "--dry-run", cwd=tmp_path)
    assert "IQ2_XXS" in found["types"]


def test_experts_that_an_importance_does_not_reach_are_named(tmp_path: Path) -> None:
    options = (*CUT[:-1], "1", "--method", "imatrix", "--dry-run")
    done = quantize("convert", five_experts(tmp_path), *options, cwd=tmp_path)
    reached = "; ".join(f"4 of blk.{layer}" for layer in range(4))
    assert f"warning: experts that the text never reached: {reached}; they are rounded" in done.stderr


def test_a_file_states_that_control_tokens_were_read_as_such(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text().replace("\n", "</s>"))
    made = ("--calibrate", text, "--ctx", "128", "--method", "imatrix", "--certify", TEXT, "-o", "out.gguf")
    stated = []
    for options in ((), ("--special", "--force")):
        done = quantize("convert", MODEL, *SMALL, *made, *options, cwd=tmp_path)
        assert ("read as letters; --special" in done.stderr) is not bool(options), done.stderr
        metadata = document("inspect", "out.gguf", cwd=tmp_path)["metadata"]
        stated.append((metadata["quantize.method"], metadata["quantize.calibration.sha256"]))
    assert [method for method, _ in stated] == ["imatrix", "imatrix, special"]
    assert stated[0][1] == stated[1][1]


def test_experts_are_rounded_too(tmp_path: Path) -> None:
    mixture, output = five_experts(tmp_path), tmp_path / "out.gguf"
    some = ("--type", "f16", "--tensor", "blk.1.ffn_down_exps.weight=q4_0")
    done = quantize("convert", mixture, *some, *CUT[:-1], "1", "-o", output)
    assert "warning: experts that the text never reached: 4 of blk.1; they are rounded" in done.stderr
    assert document("eval", output, "--text", TEXT, "--ctx", "32", "--chunks", "1")["perplexity"] > 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--method", "magic"), 2, ("--method magic: not known", "hint: known: awq, gptq, hqq")),
        (("--method", "gptq"), 2, ("--method gptq: needs a text", "hint: --calibrate FILE")),
        (("--method", "hqq", "--calibrate", TEXT), 2, ("--method hqq: makes no use of a text",)),
        (("--method", "gptq", "--method", "hqq", "--calibrate", TEXT), 2, ("gptq and hqq both decide",)),
        (("--ctx", "128"), 2, ("--ctx: there is no text to cut",)),
        (("--chunks", "1"), 2, ("--chunks: there is no text to cut",)),
        (("--special",), 2, ("--special: there is no text to read",)),
        (("--calibrate", TEXT, "--ctx", "1"), 2, ("a context of 1 tokens",)),
        (("--calibrate", TEXT, "--ctx", "-1"), 2, ("a context of -1 tokens",)),
        (("--calibrate", TEXT, "--chunks", "0"), 2, ("0 chunks",)),
        (("--calibrate", TEXT, "--calibrate", TEXT), 2, ("error: the text ", "is given twice")),
        (("--calibrate", "absent.txt"), 3, ("absent.txt: ",)),
        (("--calibrate", "short.txt"), 3, ("short.txt: ", "tokens")),
        (("--calibrate", TEXT, "--imatrix", "absent.gguf"), 3, ("absent.gguf",)),
        (("--search", "worst"), 2, ("--search",)),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    options: tuple[Any, ...], code: int, says: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("Once upon a time\n")
    assert_refused(quantize("convert", MODEL, *options, cwd=tmp_path), code, *says)
    assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]


def test_an_importance_matrix_and_a_text_are_one_too_many(tmp_path: Path) -> None:
    from tests.golden.imatrix.make import HERE

    done = quantize("convert", MODEL, "--imatrix", HERE / "tiny-llama.imatrix", "--calibrate", TEXT, cwd=tmp_path)
    assert_refused(done, 2, "--imatrix and --calibrate both say what errors cost", "hint: give one of them")
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_is_not_finite_is_located(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "model")
    weights = next((tmp_path / "model").glob("*.safetensors"))
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + length])["model.layers.1.mlp.down_proj.weight"]
    place = 8 + length + entry["data_offsets"][0]
    weights.write_bytes(content[:place] + b"\xc0\x7f" + content[place + 2 :])  # a NaN in BF16
    done = quantize("convert", "model", *SMALL, *CUT[:-1], "1", "-o", "out.gguf", cwd=tmp_path)
    assert_refused(done, 3, "'model.layers.1.mlp.down_proj.weight': nan at row 0, column 0", "hint: ")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [*COMMAND, "convert", MODEL, "--calibrate", TEXT, "--ctx", "128", "-o", "out.gguf"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    while not list(tmp_path.iterdir()):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    time.sleep(0.5)  # the file is there, but its codes are not
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert (running.returncode, "Traceback" in stderr) == (130, False), stderr
    assert list(tmp_path.iterdir()) == []
