"""What is measured of a model that runs: that it does what is counted, and counts right."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.bench import ggml, llama, run
from quantize_cli.bench.bandwidth import Memory
from quantize_cli.bench.llama import Llama
from quantize_cli.bench.run import Ours, Rate, Request, generated, measure
from quantize_cli.bench.work import Work, count
from quantize_cli.errors import InputError
from quantize_cli.evaluation.memory import peak_of
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime.generation import generate
from quantize_cli.runtime.transformer import from_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.cli.console import MODEL
from tests.runtime.synthetic import Decoder, rewrite, small, tokens, weights, write


def test_a_prompt_of_several_parts_continues_as_run_does(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)), 1)
    prompt = tokens(520)
    ours = Ours(transformer, 530)
    generated(ours, prompt[::-1], 3)
    assert generated(ours, prompt, 7) == list(generate(transformer, prompt, 8))


def test_llama_cpp_generates_what_we_do(tmp_path: Path) -> None:
    oracle.library()
    model = open_model(MODEL)
    path = rewrite(model, tmp_path / "f32.gguf", GgmlType.F32)
    prompt = np.array(load_tokenizer(model.metadata).encode("Once upon a time"))
    expected = generated(Ours(from_model(open_model(path)), 64), prompt, 15)
    theirs = Llama(path, 64, 1)
    generated(theirs, prompt[::-1], 3)
    assert generated(theirs, prompt, 15) == expected


def test_a_file_llama_cpp_does_not_load_is_named(tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "empty.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"llama\.cpp does not load .*empty\.gguf"):
        Llama(path, 64, 1)


def test_another_layout_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle.library()
    monkeypatch.setattr(llama, "_DEFAULTS", {**llama._DEFAULTS, "batch": 4096})
    with pytest.raises(InputError, match="another order"):
        llama.library.__wrapped__()


def test_without_llama_cpp_ours_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml, "library", lambda: None)
    monkeypatch.setattr(llama, "library", llama.library.__wrapped__)
    path, turns = small(tmp_path), []
    found = measure(Request(path, prompt=8, tokens=2, turns=2, threads=1), turns.append)
    assert (found.llama, found.llama_missing, turns) == (None, "xllamacpp is not installed", [1, 1])
    assert found.nbytes == path.stat().st_size
    assert found.peak_nbytes is not None
    assert found.nbytes < found.peak_nbytes
    assert found.read_share == found.ours.generation.median * found.work.token_nbytes / found.read_nbytes.median


def test_a_rate_is_of_the_median_turn() -> None:
    assert run._rate(12, [2, 1, 6]) == Rate(6, 2, 12)


def test_more_positions_than_the_model_has_are_refused_at_once(tmp_path: Path) -> None:
    decoder = Decoder("gpt2", key_value_heads=4, tied=True, context=32)
    path = write(tmp_path / "model.gguf", decoder, weights(decoder))
    with pytest.raises(InputError, match="has 32 positions, prompt and tokens are 33"):
        measure(Request(path, prompt=31, tokens=2, turns=1, threads=1), lambda amount: None)


def test_work_is_that_of_every_matrix_but_the_embedding(tmp_path: Path) -> None:
    transformer = from_model(open_model(small(tmp_path)), 1)
    layers = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64)
    assert count(transformer) == Work(layers, 96 * 64, 4 * (layers + 96 * 64))
    assert count(transformer).operations(10) == 2 * (10 * layers + 96 * 64)


def test_a_tied_embedding_is_the_output_too(tmp_path: Path) -> None:
    assert count(from_model(open_model(small(tmp_path, tied=True)), 1)).output_weights == 96 * 64


def test_of_experts_only_those_used_are_work(tmp_path: Path) -> None:
    found = count(from_model(open_model(small(tmp_path, layers=1, experts=8)), 1))
    assert found.layer_weights == 2 * 64 * 64 + 2 * 32 * 64 + 8 * 64 + 2 * (3 * 96 * 64)


def test_every_thread_reads_and_copies_its_part() -> None:
    memory = Memory(3, 1 << 12)
    assert (memory.nbytes, memory.read()) == (1 << 12, 511)
    memory.copy()
    assert np.array_equal(np.concatenate(memory._written), np.arange(512))


def test_the_peak_is_that_of_another_process() -> None:
    small_peak, large_peak = (peak_of(_fill, nbytes) for nbytes in (1, 256 << 20))
    assert small_peak is not None
    assert large_peak is not None
    assert large_peak - small_peak > 200 << 20


def _fill(nbytes: int) -> None:
    np.ones(nbytes, np.uint8)
