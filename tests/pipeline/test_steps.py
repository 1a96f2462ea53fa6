"""A step is a value: pickled, or sent to another process, it converts the same bytes; a plan prints and reads back."""

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.runner.methods import Methods
from quantize_cli.errors import UsageError
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, plan_json, recipe
from quantize_cli.pipeline.quantize import RowRange, blocks_of
from tests import checkpoints
from tests.cli.console import MODEL
from tests.tokenizers.converted import convert

SOURCES = (*checkpoints.FAMILIES, "gguf", "awq", "smoothquant")
LLAMA_3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    "rope_type": "llama3",
}  # fmt: skip


def opened(name: str, folder: Path) -> Model:
    """A model of a family, of a GGUF file, or as a method folded it."""
    if name in ("awq", "smoothquant"):
        model = open_model(MODEL)
        chunks = np.arange(128, dtype=np.int32).reshape(2, 64) + 5
        types = {step.tensor.name: step.type for step in plan.decide(model, recipe.named("q4_0"), True, False)}
        return Methods((name,)).fold(model, chunks, types, lambda done: None)
    if name == "gguf":
        convert(checkpoints.build("llama", folder / "m"), folder / "m.gguf")
        return open_model(folder / "m.gguf")
    config = {"rope_scaling": LLAMA_3} if name == "llama" else {}
    return open_model(checkpoints.build(name, folder / "m", dtype="BF16", config=config))


def ranges(made: plan.Plan) -> list[RowRange]:
    return [RowRange(step, 0, step.tensor.row_count) for step in made.steps]


def bytes_of(work: Sequence[RowRange]) -> list[bytes]:
    return [blocks_of(rows).tobytes() for rows in work]


@pytest.mark.parametrize("name", SOURCES)
def test_a_pickled_step_converts_the_same_bytes(name: str, tmp_path: Path) -> None:
    work = ranges(plan.make(opened(name, tmp_path), recipe.named("q4_0")))
    assert bytes_of(work) == bytes_of(pickle.loads(pickle.dumps(work)))


def test_another_process_converts_the_same_bytes(tmp_path: Path) -> None:
    work = [rows for name in SOURCES for rows in ranges(plan.make(opened(name, tmp_path / name), recipe.named("q4_0")))]
    program = (
        "import pickle, sys; from quantize_cli.pipeline.quantize import blocks_of;"
        "work = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(pickle.dumps([blocks_of(rows).tobytes() for rows in work]))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(work), capture_output=True, check=True)
    assert bytes_of(work) == pickle.loads(done.stdout)


@pytest.mark.parametrize("name", SOURCES)
def test_a_plan_reads_back_equal(name: str, tmp_path: Path) -> None:
    made = plan.make(opened(name, tmp_path), recipe.named("q4_k_m"))
    again = plan_json.from_json(plan_json.to_json(made))
    assert again == made
    assert plan_json.to_json(again) == plan_json.to_json(made)
    assert bytes_of(ranges(again)) == bytes_of(ranges(made))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"items": {}}', '{"kind": "Popen"}', "[" * 100_000])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="plan: not one that was printed"):
        plan_json.from_json(text)
