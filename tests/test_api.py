"""The Python API does what the commands do, and imports nothing before it is used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quantize_cli
from quantize_cli.errors import OutputError
from quantize_cli.progress import Report
from tests.cli.console import EXAMPLES, MODEL, document, environment, succeeded

SAMPLE = EXAMPLES / "sample.txt"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "q4.gguf"
    quantize_cli.convert(MODEL, path, bits=4)
    return path


def test_convert_writes_what_the_command_writes(quantized: Path, tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--bits", "4", "-o", tmp_path / "command.gguf")
    assert quantized.read_bytes() == (tmp_path / "command.gguf").read_bytes()


def test_convert_replaces_nothing_unless_forced(quantized: Path) -> None:
    with pytest.raises(OutputError, match="already exists"):
        quantize_cli.convert(str(MODEL), str(quantized), bits=4)
    assert quantize_cli.convert(MODEL, quantized, type="q4_k_m", force=True).planned.output == quantized


def test_a_plan_has_the_size_of_the_file(quantized: Path) -> None:
    assert quantize_cli.plan(MODEL, type="q4_k_m").nbytes == quantized.stat().st_size


def test_an_option_that_no_job_has_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        quantize_cli.plan(MODEL, colour="red")


def test_inspect_says_what_the_file_says(quantized: Path) -> None:
    found = quantize_cli.inspect(quantized)
    assert found["metadata"]["general.architecture"] == "llama"
    assert found["nbytes"] == quantized.stat().st_size


def test_a_loaded_model_generates_what_run_prints(quantized: Path) -> None:
    model = quantize_cli.load(quantized)
    prompt = "Once upon a time"
    ids = model.tokenize(prompt)
    assert model.detokenize(ids) == prompt
    assert int(model.logits(ids)[-1].argmax()) == model.tokenize(prompt + next(iter(model.generate(prompt, 1))))[-1]
    pieces = list(model.generate(prompt, 12))
    assert len(pieces) > 1
    assert prompt + "".join(pieces) == succeeded("run", quantized, "-p", prompt, "-n", 12).removesuffix("\n")
    assert "".join(model.generate(prompt, 40, stop=["."])) == "".join(model.generate(prompt, 40)).partition(".")[0]


def test_a_continuation_says_how_it_ended_and_draws_by_its_seed(quantized: Path) -> None:
    model = quantize_cli.load(quantized)
    first, second = (model.generate("Once", 12, temperature=1.5, seed=3) for _ in range(2))
    assert "".join(first) == "".join(second) == first.text
    assert (len(first.tokens), first.ended_by) == (12, "length")


def test_analyze_measures_what_the_command_shows() -> None:
    found = quantize_cli.analyze(MODEL, SAMPLE, types=["q3_k", "q8_0"], context=256, chunks=1)
    shown = document("analyze", MODEL, "--text", SAMPLE, "--ctx", 256, "--chunks", 1, "--types", "q3_k,q8_0")
    assert (found.context, found.chunks) == (shown["ctx"], shown["chunks"])
    assert [point.loss for point in found.frontier.best] == [point["kld"] for point in shown["frontier"]]


def test_evaluate_and_compare_measure_the_same(quantized: Path) -> None:
    told = list[str]()
    alone = quantize_cli.evaluate(quantized, SAMPLE, reference=MODEL, context=256, report=Report(note=told.append))
    beside = quantize_cli.compare([MODEL, quantized], [SAMPLE], context=256)
    first, second = alone.models[0].overall.comparison, beside.models[1].overall.comparison
    assert first is not None
    assert second is not None
    assert first.kld_mean.value == second.kld_mean.value > 0
    assert any("are rough" in line for line in told)


def test_calibrate_gives_what_convert_takes(tmp_path: Path) -> None:
    found = quantize_cli.calibrate(MODEL, SAMPLE, tmp_path / "i.gguf", context=256)
    assert np.isfinite(next(iter(found.importance.means.values()))).all()
    quantize_cli.convert(MODEL, tmp_path / "q2.gguf", type="q2_k", imatrix=tmp_path / "i.gguf")


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    program = "import sys, quantize_cli; quantize_cli.convert; print({'numpy', 'numba', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.stdout == "set()\n"
