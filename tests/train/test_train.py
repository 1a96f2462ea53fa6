"""A training from a job to its files: the same bits each time, whenever it was interrupted."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quantize_cli.certificate.verify import Evidence, Verdict, verify  # noqa: E402
from quantize_cli.errors import InputError, OutputError, UsageError  # noqa: E402
from quantize_cli.formats.gguf.reader import read_gguf  # noqa: E402
from quantize_cli.model.source import open_model  # noqa: E402
from quantize_cli.pipeline import convert  # noqa: E402
from quantize_cli.pipeline.job import Job  # noqa: E402
from quantize_cli.quants import decode  # noqa: E402
from quantize_cli.train.runner.assemble import assemble  # noqa: E402
from quantize_cli.train.runner.phase import Models  # noqa: E402
from quantize_cli.train.runner.train import Trained, train  # noqa: E402
from tests.certificates import evaluate  # noqa: E402
from tests.checkpoints import build  # noqa: E402
from tests.cli.console import COMMAND, environment  # noqa: E402
from tests.train.runs import TEXT, small_job, small_model, stopping_after  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training of all phases that nothing interrupted."""
    return train(small_job(model, tmp_path_factory.mktemp("whole") / "out.gguf", certify=TEXT))


def result(done: Trained) -> tuple[bytes, list[tuple[float, ...]]]:
    return done.output.read_bytes(), [phase.losses for phase in done.phases]


def test_the_outcome_is_a_file_and_what_it_started_from(whole: Trained) -> None:
    assert sorted(path.name for path in whole.output.parent.rglob("*")) == [
        "out.gguf",
        "out.gguf.training",
        "start.gguf",
    ]
    assert (whole.steps, whole.tokens, whole.nbytes) == (12, 12 * 2 * 32, whole.output.stat().st_size)
    assert [phase.name for phase in whole.phases] == [phase.name for phase in whole.prepared.outline]
    assert whole.loss_before is not None
    assert whole.loss_after is not None
    assert whole.loss_after <= whole.loss_before


def test_only_blocks_of_trained_matrices_differ_from_the_start(whole: Trained) -> None:
    start, out = (read_gguf(path) for path in (whole.prepared.checkpoints.start, whole.output))
    shapes = [[(tensor.name, tensor.shape, tensor.dtype) for tensor in file.tensors] for file in (start, out)]
    assert shapes[0] == shapes[1]
    differing = {
        tensor.name
        for tensor, other in zip(start.tensors, out.tensors, strict=True)
        if not np.array_equal(tensor.rows(0, tensor.row_count), other.rows(0, other.row_count))
    }
    assert differing
    assert all(len(tensor.shape) > 1 for tensor in out.tensors if tensor.name in differing)


def test_the_certificate_says_how_it_was_trained_and_holds(whole: Trained) -> None:
    checks = verify(whole.output, Evidence(whole.prepared.source.path, (TEXT,), evaluate))
    stated = {check.claim: check.stated for check in checks}
    found = {check.claim: check.verdict for check in checks}
    assert stated["method"] == "hqq, efficientqat 12 steps"
    assert [stated[f"training.{key}"] for key in ("name", "method", "steps", "tokens")] == [
        TEXT.name, "efficientqat", 12, 768,
    ]  # fmt: skip
    assert Verdict.CONTRADICTED not in found.values()
    assert {found[key] for key in ("recipe", "training.sha256", "evaluation.kld_mean")} == {Verdict.CONFIRMED}


def test_two_runs_are_equal(whole: Trained, tmp_path: Path) -> None:
    again = replace(whole.prepared.job, conversion=replace(whole.prepared.job.conversion, output=tmp_path / "out.gguf"))
    assert result(train(again)) == result(whole)


@pytest.mark.parametrize("method", ["qat", "efficientqat"])
def test_checkpointed_blocks_give_the_same(model: Path, tmp_path: Path, method: str) -> None:
    job = small_job(model, tmp_path / "kept.gguf", method=method)
    again = small_job(model, tmp_path / "again.gguf", method=method, gradient_checkpointing=True)
    assert result(train(again)) == result(train(job))


@pytest.mark.parametrize("steps", [1, 3, 5, 8], ids="after {} steps".format)
def test_a_resumed_training_is_that_which_was_not_interrupted(whole: Trained, tmp_path: Path, steps: int) -> None:
    job = replace(whole.prepared.job, conversion=replace(whole.prepared.job.conversion, output=tmp_path / "out.gguf"))
    with pytest.raises(KeyboardInterrupt):
        train(job, stopping_after(steps))
    assert not (tmp_path / "out.gguf").exists()
    assert result(train(replace(job, resume=True))) == result(whole)


def test_a_killed_command_is_resumed(model: Path, tmp_path: Path) -> None:
    options = [
        "train", str(model), "--text", str(TEXT), "--type", "q4_0", "--method", "qat", "--steps", "12", "--ctx", "32",
        "--batch", "2", "-j", "1", "--start-method", "hqq", "--json",
    ]  # fmt: skip
    command = [*COMMAND, *options, "-o"]
    running = subprocess.Popen(
        [*command, str(tmp_path / "killed.gguf"), "--save-minutes", "0"], env=environment(), stdout=subprocess.DEVNULL
    )
    saved = tmp_path / "killed.gguf.training" / "checkpoint.safetensors"
    while running.poll() is None and not saved.exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    for name, more in (("killed.gguf", ["--resume"]), ("whole.gguf", [])):
        subprocess.run([*command, str(tmp_path / name), *more], env=environment(), check=True, capture_output=True)
    assert (tmp_path / "killed.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_sigterm_saves_and_ends_as_elsewhere(model: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from quantize_cli.cli import main  # noqa: E402
from quantize_cli.train.runner import loop  # noqa: E402
import os, signal
step = loop.PhaseTrainer.step
def stepping(trainer):
    step(trainer)
    if trainer.progress.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
loop.PhaseTrainer.step = stepping
sys.argv[1:] = ["train", {str(model)!r}, "--text", {str(TEXT)!r}, "--type", "q4_0", "--method", "qat", "--steps", "4",
    "--ctx", "32", "--batch", "2", "-j", "1", "--start-method", "hqq", "-o", {str(tmp_path / "out.gguf")!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (143, ""), done.stderr
    assert done.stderr.splitlines()[-2:] == [
        "saved end to end after 2 of 4 steps, --resume goes on", "error: terminated",
    ]  # fmt: skip
    assert (tmp_path / "out.gguf.training" / "checkpoint.safetensors").exists()


def test_another_job_is_not_resumed(model: Path, tmp_path: Path) -> None:
    job = small_job(model, tmp_path / "out.gguf", method="qat")
    with pytest.raises(KeyboardInterrupt):
        train(job, stopping_after(2))
    with pytest.raises(InputError, match=r"out\.gguf\.training: was begun with seed '0', not '1'$"):
        train(replace(job, seed=1, resume=True))
    with pytest.raises(OutputError, match="already exists"):
        train(job)
    text = tmp_path / "other.txt"
    text.write_text(TEXT.read_text() * 2)
    with pytest.raises(InputError, match="was begun with data_sha256 "):
        train(replace(job, data=(text,), resume=True))


def test_a_dry_run_writes_nothing(model: Path, tmp_path: Path) -> None:
    job = small_job(model, tmp_path / "out.gguf")
    gptq = replace(job, conversion=replace(job.conversion, methods=()))
    done = train(gptq, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert (done.prepared.steps, done.prepared.tokens) == (12, 768)
    assert (
        done.nbytes
        == convert(Job(model, tmp_path / "x.gguf", type="q4_0", threads=1), dry_run=True).planned.plan.nbytes
    )


def test_a_named_start_is_where_training_begins(model: Path, tmp_path: Path, whole: Trained) -> None:
    start = Path(shutil.copy(whole.prepared.checkpoints.start, tmp_path / "mine.gguf"))
    job = small_job(model, tmp_path / "out.gguf", start=start, method="qat", steps=1)
    training = assemble(job, Models(open_model(model), open_model(start)), whole.prepared.examples, torch.device("cpu"))
    for tensor in open_model(start).tensors:
        if len(tensor.shape) > 1:
            held = decode(tensor.type, tensor.read(0, tensor.row_count))
            assert np.array_equal(held, training.quantized(tensor.name).detach().numpy()), tensor.name
    train(replace(job, conversion=replace(job.conversion, type=None)))
    assert list((tmp_path).glob("*.training")) == []


def test_a_start_of_another_model_or_type_is_refused(model: Path, tmp_path: Path, whole: Trained) -> None:
    other = tmp_path / "other"
    build("qwen2", other)
    wrong: dict[str, Any] = {}
    for name, source, type_ in (("qwen.gguf", other, "q4_0"), ("q8.gguf", model, "q8_0")):
        wrong[name] = convert(Job(source, tmp_path / name, type=type_, threads=1)).planned.output
    with pytest.raises(InputError, match=r"qwen\.gguf: only one of it and "):
        train(small_job(model, tmp_path / "out.gguf", start=wrong["qwen.gguf"]))
    with pytest.raises(InputError, match=r"q8\.gguf: tensor '\S+' is q8_0, not q4_0 as of q4_0$"):
        train(small_job(model, tmp_path / "out.gguf", start=wrong["q8.gguf"]))


def test_float_weights_are_those_behind_the_codes(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "float.gguf"
    done = train(small_job(model, tmp_path / "out.gguf", method="qat", save_float=path))
    latent = {tensor.name: tensor for tensor in open_model(path).tensors}
    assert {tensor.type.name for tensor in latent.values()} == {"F32"}
    for tensor in open_model(done.output).tensors:
        if tensor.type.name == "Q4_0":
            rows = latent[tensor.name].read(0, tensor.row_count)
            held = decode(tensor.type, tensor.read(0, tensor.row_count))
            assert np.abs(rows - held).max() < np.abs(held).max()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "other"}, "--method other: not known"),
        ({"batch": 0}, "--batch 0: must be at least 1"),
        ({"device": "cuda"}, "--device cuda: torch sees no GPU"),
        ({"learning_rate": -1.0}, "--learning-rate -1: must be above 0"),
        ({"data": ()}, "missing option '--text'"),
    ],
)
def test_nonsense_is_refused(model: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=f"^{said}$"):
        train(replace(small_job(model, tmp_path / "out.gguf"), **options))
    assert list(tmp_path.iterdir()) == []


def test_scales_that_were_moved_are_no_start(model: Path, tmp_path: Path) -> None:
    job = small_job(model, tmp_path / "out.gguf")
    moved = replace(job, conversion=replace(job.conversion, methods=("awq",)))
    with pytest.raises(UsageError, match=r"^--start-method awq: changes the float model"):
        train(moved)
