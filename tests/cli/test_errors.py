"""What goes wrong is said in one line with the right exit code, and leaves no file behind."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests import checkpoints
from tests.cli.console import COMMAND, MODEL, assert_refused, environment, quantize

USAGE, INPUT, OUTPUT, HUNG_UP, INTERRUPTED, QUIT, TERMINATED = 2, 3, 4, 129, 130, 131, 143


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return checkpoints.build("llama", tmp_path / "model")


def cut(model: Path) -> tuple[str, ...]:
    weights = model / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 100)
    return "model.safetensors: tensors end at byte", "file at"


def cut_header(model: Path) -> tuple[str, ...]:
    os.truncate(model / "model.safetensors", 100)
    return "model.safetensors: header ends at byte", "file at 100"


def overlap(model: Path) -> tuple[str, ...]:
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["model.norm.weight"]["data_offsets"] = [offset - 4 for offset in header["model.norm.weight"]["data_offsets"]]
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    weights.write_bytes(content[:8] + text[:length] + content[8 + length :])
    return "model.safetensors: tensor 'model.norm.weight' begins at byte", "overlaps"


def lose_a_shard(model: Path) -> tuple[str, ...]:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    return ("'model-00002-of-00002.safetensors' is missing",)


def lose_an_indexed_shard(model: Path) -> tuple[str, ...]:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return ("'model-00002-of-00002.safetensors'",)


def change_the_family(model: Path) -> tuple[str, ...]:
    config = json.loads((model / "config.json").read_text())
    changed = {"model_type": "mamba\n\x1b[2J", "architectures": ["MambaForCausalLM"]}
    (model / "config.json").write_text(json.dumps({**config, **changed}))
    return r"config.json: model_type 'mamba\n\x1b[2J' is not supported", "hint: known: "


def put_a_nan(model: Path) -> tuple[str, ...]:
    weights = checkpoints.numbers("mlp.down_proj.weight", (64, 96))
    weights[17, 5] = np.nan
    checkpoints.build("llama", model, tensors={"model.layers.1.mlp.down_proj.weight": weights})
    return "model.safetensors: tensor 'model.layers.1.mlp.down_proj.weight': nan at row 17, column 5", "hint: "


def lose_a_tensor(model: Path) -> tuple[str, ...]:
    checkpoints.build("llama", model, tensors={"model.layers.1.mlp.down_proj.weight": None})
    return ("down_proj",)


def pickle(model: Path) -> tuple[str, ...]:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    return "only as pickles, but 'pytorch_model.bin'", "hint: "


def lose_everything(model: Path) -> tuple[str, ...]:
    shutil.rmtree(model)
    return ("model: ",)


DAMAGES = (
    cut, cut_header, overlap, lose_a_shard, lose_an_indexed_shard, change_the_family, put_a_nan, lose_a_tensor, pickle,
    lose_everything,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_input_is_named_and_leaves_the_old_output(
    damage: Callable[[Path], tuple[str, ...]], model: Path, tmp_path: Path
) -> None:
    named = damage(model)
    output = tmp_path / "out" / "out.gguf"
    output.parent.mkdir()
    output.write_bytes(b"old")
    assert_refused(quantize("convert", model, "--type", "f16", "-o", output, "--force"), INPUT, *named)
    assert [(path.name, path.read_bytes()) for path in output.parent.iterdir()] == [("out.gguf", b"old")]


def test_a_damage_found_while_writing_leaves_no_output(model: Path, tmp_path: Path) -> None:
    named = put_a_nan(model)
    assert_refused(quantize("convert", model, "--type", "f16", "-o", tmp_path / "out.gguf"), INPUT, *named)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("command", ["plan", "inspect", "convert", "run", "eval", "calibrate"])
@pytest.mark.parametrize("name", ["absent", "x" * 300, "x\x1b[2J\n.gguf"])
def test_a_missing_input_is_named_by_every_command(command: str, name: str, tmp_path: Path) -> None:
    text = ["--text", MODEL / "config.json"]
    more = {"run": ["-p", "x"], "eval": text, "calibrate": text}.get(command, [])
    done = quantize(command, tmp_path / name, *more, cwd=tmp_path)
    assert_refused(done, INPUT, name[:6] if name.isprintable() else r"x\x1b[2J\n.gguf")


def test_a_pickle_itself_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert_refused(quantize("convert", tmp_path / "pytorch_model.bin"), INPUT, "pytorch_model.bin: a pickle", "hint: ")


def test_an_existing_output_is_replaced_only_with_force(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    output.write_bytes(b"old")
    command = ("convert", model, "--type", "f16", "-o", output)
    assert_refused(quantize(*command), OUTPUT, "out.gguf: already exists", "hint: --force replaces it")
    assert output.read_bytes() == b"old"
    assert quantize(*command, "--force").returncode == 0
    assert output.read_bytes()[:4] == b"GGUF"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out.gguf"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (".", "is a directory"),
        ("absent/out.gguf", "there is no directory absent"),
        ("model/new.bin", "is a part of the source"),
        ("model/config.json/out.gguf", "not a directory"),
        ("model/model.safetensors", "is an input itself"),
        ("device", "not a regular file"),
        (f"{'x' * 252}.gguf", "file name too long"),
    ],
)
def test_an_output_that_cannot_be_is_refused(output: str, says: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "device").symlink_to(os.devnull)
    before = sorted(tmp_path.rglob("*"))
    done = quantize("convert", model, "--type", "f16", "--force", "-o", output, cwd=tmp_path)
    assert_refused(done, OUTPUT, says)
    assert before == sorted(tmp_path.rglob("*"))


def test_the_source_is_never_its_own_output(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    assert quantize("convert", model, "--type", "f16", "-o", path).returncode == 0
    before = path.read_bytes()
    (tmp_path / "link.gguf").symlink_to(path)
    for output in (path, tmp_path / "link.gguf"):
        done = quantize("convert", path, "--type", "f32", "--force", "-o", output)
        assert_refused(done, OUTPUT, f"{output.name}: is an input itself")
    assert path.read_bytes() == before


def test_a_quantized_file_is_not_quantized_again(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    assert quantize("convert", model, "--type", "q8_0", "-o", path).returncode == 0
    done = quantize("convert", path, "--type", "q4_0", "-o", tmp_path / "b.gguf")
    assert_refused(done, INPUT, "a.gguf: tensor 'token_embd.weight': already q8_0", "hint: quantize from the original")


BAD_USAGE = {
    "--bits 3": "--bits 3: not one of 16, 8, 6, 5, 4",
    "--bits 0": "--bits 0: not one of",
    "--bits x": "--bits",
    "--bits 4 --type q4_0": "--bits and --type both choose the recipe",
    "--type q4_0 --recipe mine.toml": "--type and --recipe both choose the recipe",
    "--type q4": "unknown type or mix 'q4'",
    "--type=": "unknown type or mix ''",
    "--tensor output.weight": "--tensor 'output.weight': not of the form PATTERN=TYPE",
    "--tensor output.weight=q6": "unknown type 'q6'",
    "--tensor blk.9.*=q6_k": "--tensor 'blk.9.*': matches no tensor that is quantized",
    "--threads 0": "--threads",
    "--frob": "no such option: --frob",
    "more": "unexpected extra argument",
}


@pytest.mark.parametrize("options", BAD_USAGE)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(options: str, tmp_path: Path) -> None:
    done = quantize("convert", MODEL, *options.split(), cwd=tmp_path)
    assert_refused(done, USAGE, BAD_USAGE[options])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("frob", "no such command 'frob'"), ("convert", "missing argument"), ("run x", "missing option")],
)
def test_what_is_missing_or_unknown_is_named(arguments: str, says: str) -> None:
    assert_refused(quantize(*arguments.split()), USAGE, says, "hint: quantize")


def test_a_disk_too_small_is_told_at_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]
    if not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk of 1 MB")
    try:
        done = quantize("convert", MODEL, "--type", "f16", "-o", disk / "out.gguf")
        assert_refused(done, OUTPUT, "out.gguf: needs ", " bytes, its disk has 1048576 free")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_the_system_does_not_let_grow_is_removed(model: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = quantize("convert", model, "--type", "f32", "-o", tmp_path / "out.gguf", preexec_fn=limit)
    assert_refused(done, OUTPUT, "out.gguf: file too large")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def hole(path: Path, rows: int, columns: int = 4096) -> Path:
    """A file of BF16 zeros that takes no room on the disk."""
    checkpoints.save_safetensors(path, {"a.weight": np.empty((0, columns), ml_dtypes.bfloat16)})
    nbytes = 2 * rows * columns
    text = json.dumps({"a.weight": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [0, nbytes]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, path.stat().st_size + nbytes)
    return path


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGINT, INTERRUPTED, "interrupted"),
        (signal.SIGTERM, TERMINATED, "terminated"),
        (signal.SIGHUP, HUNG_UP, "hung up"),
        (signal.SIGQUIT, QUIT, "quit"),
    ],
)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_a_conversion_that_is_stopped_leaves_everything_as_it_was(
    number: int, code: int, says: str, existing: bool, tmp_path: Path
) -> None:
    source, folder = hole(tmp_path / "big.safetensors", rows=1 << 18), tmp_path / "out"
    folder.mkdir()
    if existing:
        (folder / "out.gguf").write_bytes(b"old")
    child = subprocess.Popen(
        [*COMMAND, "convert", source, "--type", "q8_0", "--threads", "1", "--force", "-o", folder / "out.gguf"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a job in the background ignores some
    )  # fmt: skip
    while not list(folder.glob(".*.unfinished")):
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=120)
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert (child.returncode, stdout, errors) == (code, "", [f"error: {says}"]), stderr
    assert "Traceback" not in stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ({"out.gguf": b"old"} if existing else {})


def test_a_signal_that_was_ignored_stays_so() -> None:
    program = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from quantize_cli.cli.terminal.ending import listen
listen()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.stdout == "True False\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = " ".join([*COMMAND, "inspect", str(MODEL)])
    script = f"{command} --json | head -c 10; echo ${{PIPESTATUS[0]}}; {command} | head -c 5; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment())
    assert done.stderr == ""
    assert [line[-1] for line in done.stdout.splitlines()[1:]] == ["0", "0"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_goes_nowhere_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "inspect", MODEL], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )
    assert (done.returncode, done.stderr) == (OUTPUT, "error: standard output: no space left on device\n")
