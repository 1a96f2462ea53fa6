"""The same bytes whoever computes them, every weight where it belongs, and failures that stop everything."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError, OutputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value, text
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.output import OverwriteGuard
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.sources import Held
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.pipeline import plan, quantize, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.plan import Importance
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.progress import Report
from tests import checkpoints, oracle
from tests.families.test_converter import DELIBERATE, as_golden, built
from tests.golden.converter.make_golden import HERE, digest
from tests.golden.converter.variants import VARIANTS
from tests.sources import Made


def model_of(*tensors: Tensor) -> Model:
    return Model(Path("model.safetensors"), None, {"general.name": text("made up")}, list(tensors))


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def written(
    model: Model, mix: str, path: Path, importance: Importance | None = None, threads: int = 2
) -> dict[str, np.ndarray]:
    """The rows of the file made, by tensor."""
    made = plan.make(model, recipe.named(mix), importance)
    writing.write({path: made}, Threads(threads), rounding=Rounding(importance))
    return {tensor.name: tensor.rows(0, tensor.row_count) for tensor in read_gguf(path).tensors}


@pytest.mark.parametrize("chunk", [1, 600, 1000, 1 << 21])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_neither_threads_nor_chunks_change_a_byte(
    threads: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(checkpoints.build("gpt2", tmp_path / "model", dtype="F16"))
    written(model, "q4_k_m", tmp_path / "expected.gguf")
    monkeypatch.setattr(quantize, "_CHUNK_WEIGHTS", chunk)
    written(model, "q4_k_m", tmp_path / "actual.gguf", threads=threads)
    assert (tmp_path / "expected.gguf").read_bytes() == (tmp_path / "actual.gguf").read_bytes()


@pytest.mark.parametrize("chunk", [256, 3 * 256, 1 << 21])
@pytest.mark.parametrize("mix", ["q4_k", "q5_0"])
def test_each_expert_is_quantized_with_its_own_importance(
    mix: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "_CHUNK_WEIGHTS", chunk)
    experts = [numbers(seed, 5, 256) for seed in range(3)]
    costs = np.square(numbers(9, 3, 256))
    tensor = from_array("blk.0.ffn_up_exps.weight", np.stack(experts))
    found = written(model_of(tensor), mix, tmp_path / "out.gguf", {tensor.name: costs})[tensor.name]
    type_ = GgmlType[mix.upper()]
    expected = [oracle.quantize(type_, *pair) for pair in zip(experts, costs, strict=True)]
    assert np.array_equal(np.concatenate(expected), found)


def test_importance_of_what_is_not_quantized_is_ignored(tmp_path: Path) -> None:
    norm, matrix = from_array("a.bias", numbers(0, 64)), from_array("a.weight", numbers(1, 3, 256))
    costs = {"a.bias": np.ones((1, 64), np.float32), "a.weight": np.ones((1, 256), np.float32)}
    found = written(model_of(norm, matrix), "f16", tmp_path / "out.gguf", costs)
    assert np.array_equal(found["a.bias"], numbers(0, 1, 64))
    assert np.array_equal(found["a.weight"], numbers(1, 3, 256).astype(np.float16))


def test_integers_pass_unchanged(tmp_path: Path) -> None:
    values = np.array([[1, -5, 1 << 30]], np.int32)
    tensor = Tensor("order", (3,), GgmlType.I32, Held(values), "order")
    assert np.array_equal(written(model_of(tensor), "q8_0", tmp_path / "out.gguf")["order"], values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mix", ["f32", "q8_0"])
@pytest.mark.parametrize("chunk", [32, 1 << 21])
def test_a_weight_that_is_not_finite_is_located(
    value: float, mix: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "_CHUNK_WEIGHTS", chunk)
    weights = numbers(0, 7, 32)
    weights[5, 3] = value
    with pytest.raises(InputError, match=f"'a.weight': {value} at row 5, column 3"):
        written(model_of(from_array("a.weight", weights)), mix, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def test_the_first_failure_stops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "_CHUNK_WEIGHTS", 32)
    reads = []

    def read(start: int, stop: int) -> np.ndarray:
        reads.append(start)
        raise OSError(5, "Input/output error")

    tensor = Tensor("a.weight", (10_000, 32), GgmlType.F32, Made(read), "disk: tensor 'a.weight'")
    with pytest.raises(InputError, match=r"^disk: tensor 'a\.weight': input/output error$"):
        written(model_of(tensor), "q8_0", tmp_path / "out.gguf", threads=2)
    assert len(reads) <= 4  # one for each worker
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_is_told_before_a_byte_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(start: int, stop: int) -> np.ndarray:
        raise AssertionError("read")

    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: writing.shutil._ntuple_diskusage(9000, 1000, 8000))
    tensor = Tensor("a.weight", (1000, 32), GgmlType.F32, Made(read), "a")
    with pytest.raises(OutputError, match=r"out\.gguf: needs 34208 bytes, its disk has 8000 free"):
        written(model_of(tensor), "q8_0", tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent: no such file or directory"):
        written(model_of(from_array("a", numbers(0, 3))), "f32", tmp_path / "absent" / "out.gguf")


def test_what_is_written_is_reported_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "_CHUNK_WEIGHTS", 1000)
    model = open_model(checkpoints.build("llama", tmp_path / "model"))
    made, amounts = plan.make(model, recipe.named("q4_k_m")), []
    writing.write({tmp_path / "out.gguf": made}, Threads(2), Report(written=amounts.append))
    assert sum(amounts) == sum(step.nbytes for step in made.steps)


def listed(value: Value) -> Value:
    """An array as it was before it went through a file."""
    return replace(value, data=value.data.tolist()) if isinstance(value.data, np.ndarray) else value


CONVERTER_TYPES = {"f32": 0, "f16": 1, "bf16": 32}
"""The types the reference converter writes, by the number of their file type."""


@pytest.mark.parametrize("type_", CONVERTER_TYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_float_files_are_the_converters(name: str, type_: str, tmp_path: Path) -> None:
    golden = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    model = open_model(built(name, tmp_path))
    written(model, type_, tmp_path / "out.gguf")
    file = read_gguf(tmp_path / "out.gguf")
    expected = {tensor: described[type_] for tensor, described in golden["tensors"].items()}
    assert expected == {t.name: [t.dtype, digest(t.rows(0, t.row_count).tobytes())] for t in file.tensors}
    assert list(expected) == [tensor.name for tensor in file.tensors]
    deliberate = DELIBERATE.get(name, {})
    metadata = {key: as_golden(listed(value)) for key, value in file.metadata.items() if key not in deliberate}
    stated = {**golden["metadata"], "general.file_type": [["UINT32"], CONVERTER_TYPES[type_]]}
    assert {key: value for key, value in stated.items() if key not in deliberate} == metadata


def test_two_runs_make_the_same_file(tmp_path: Path) -> None:
    model = open_model(checkpoints.build("qwen3", tmp_path / "model"))
    for name in ("a.gguf", "b.gguf"):
        written(model, "q6_k", tmp_path / name)
    first, second = (hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("a.gguf", "b.gguf"))
    assert first == second


def test_a_disk_that_fills_up_leaves_no_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root may mount a disk of 1 MB")
    rows = np.ones((1000, 200), np.float32)

    def read(start: int, stop: int) -> np.ndarray:
        (disk / "filler").write_bytes(bytes(400_000))  # after the plan has found room
        return rows[start:stop]

    try:
        with pytest.raises(OutputError, match=r"out\.gguf: no space left on device"):
            written(model_of(Tensor("a.weight", rows.shape, GgmlType.F32, Made(read), "a")), "f32", disk / "out.gguf")
        assert [path.name for path in disk.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", disk], check=True)


BOTH = (from_array("a.weight", numbers(0, 3, 32)), from_array("b.weight", numbers(1, 5, 32)))
GIVEN = np.arange(5 * 34, dtype=np.uint8).reshape(5, 34)
"""What stands for b.weight: any bytes."""


def rounded(path: Path, results: Callable[[], Iterable[tuple[str, np.ndarray]]], amounts: list[int]) -> None:
    def encode(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        return np.full((len(weights), 34), 7, np.uint8)

    rounding = Rounding(None, encode, frozenset({"b.weight"}), results)
    made = plan.make(model_of(*BOTH), recipe.named("q8_0"), None)
    writing.write({path: made}, Threads(2), Report(written=amounts.append), rounding)


def test_what_is_rounded_whole_is_written_at_its_place_and_the_rest_by_rows(tmp_path: Path) -> None:
    amounts: list[int] = []
    rounded(tmp_path / "out.gguf", lambda: [("b.weight", GIVEN)], amounts)
    found = {tensor.name: tensor.rows(0, tensor.row_count) for tensor in read_gguf(tmp_path / "out.gguf").tensors}
    assert np.array_equal(np.full((3, 34), 7), found["a.weight"])
    assert np.array_equal(GIVEN, found["b.weight"])
    assert sum(amounts) == 8 * 34


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt()])
def test_a_failure_while_rounding_leaves_no_file(error: BaseException, tmp_path: Path) -> None:
    def results() -> Iterator[tuple[str, np.ndarray]]:
        yield "b.weight", GIVEN
        raise error

    with pytest.raises(type(error)):
        rounded(tmp_path / "out.gguf", results, [])
    assert list(tmp_path.iterdir()) == []


def test_what_is_rounded_whole_finds_its_part_of_a_split_file(tmp_path: Path) -> None:
    parts = plan.split(plan.make(model_of(*BOTH), recipe.named("q8_0"), None), 1)
    files = {tmp_path / f"{number}.gguf": part for number, part in enumerate(parts)}
    rounding = Rounding(names=frozenset({"b.weight"}), results=lambda: [("b.weight", GIVEN)])
    writing.write(files, Threads(2), rounding=rounding)
    found = {tensor.name: tensor.rows(0, tensor.row_count) for path in files for tensor in read_gguf(path).tensors}
    assert len(files) > 1
    assert np.array_equal(GIVEN, found["b.weight"])


def test_a_source_that_is_replaced_meanwhile_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    source = checkpoints.build("llama", tmp_path / "model")
    made = plan.make(open_model(source), recipe.named("f16"))
    again = shutil.copytree(source, tmp_path / "again")

    def download(nbytes: int) -> None:
        if (again / "config.json").exists():
            (again / "config.json").replace(source / "config.json")

    with pytest.raises(FormatError, match=r"config.json: was replaced by another file while it was read"):
        writing.write({tmp_path / "out.gguf": made}, Threads(1), Report(written=download))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "model"]


def test_a_source_file_that_is_rewritten_meanwhile_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    written(open_model(checkpoints.build("llama", tmp_path / "model")), "f32", source)
    made = plan.make(open_model(source), recipe.named("q8_0"))
    content = source.read_bytes()
    with pytest.raises(FormatError, match=r"source.gguf: was written to while it was read"):
        writing.write(
            {tmp_path / "out.gguf": made},
            Threads(1),
            Report(written=lambda nbytes: rewrite(source, content)),
        )
    assert not (tmp_path / "out.gguf").exists()


def rewrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(1, 1))


def test_without_force_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    made = plan.make(model_of(from_array("a.weight", numbers(0, 4, 32))), recipe.named("f16"))
    path = tmp_path / "out.gguf"
    report = Report(written=lambda nbytes: path.write_text("theirs") and None)
    with pytest.raises(OutputError, match=r"out.gguf: already exists") as caught:
        writing.write({path: made}, Threads(1), report, guard=OverwriteGuard(force=False))
    assert (caught.value.hint, path.read_text()) == ("--force replaces it", "theirs")
