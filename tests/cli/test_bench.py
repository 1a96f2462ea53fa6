"""quantize bench: what it refuses, and what it says of a model that runs."""

from pathlib import Path

import pytest

from tests import oracle
from tests.cli.console import MODEL, assert_refused, document, quantize, succeeded

SHORT = ("--prompt", 8, "--tokens", 2, "--turns", 1, "--threads", 1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("speed",), "bench 'speed': nothing of that name to measure"),
        (("run",), "no model is given"),
        (("run", MODEL, "--type", "q4_0"), "bench run takes no --type"),
        (("run", MODEL, "--importance"), "bench run takes no --importance"),
        (("types", MODEL), "bench types takes no MODEL"),
        (("types", "--prompt", 8), "bench types takes no --prompt"),
        (("types", "--tokens", 8), "bench types takes no --tokens"),
        (("types", "--threads", 1), "bench types takes no --threads"),
        (("run", MODEL, "--prompt", 0), "--prompt"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[object, ...], named: str) -> None:
    assert_refused(quantize("bench", *arguments), 2, named)


def test_a_model_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    assert_refused(quantize("bench", "run", tmp_path / "no.gguf"), 3, "no.gguf")


def test_a_checkpoint_is_measured_without_llama_cpp() -> None:
    done = quantize("bench", "run", MODEL, *SHORT)
    assert done.returncode == 0
    assert "llama.cpp is not measured: llama.cpp runs .gguf files alone\n" in done.stderr
    assert done.stdout.splitlines()[0].split() == ["tokens", "tokens/s", "spread"]
    found = document("bench", "run", MODEL, *SHORT)
    assert found["llama_missing"] == "llama.cpp runs .gguf files alone"
    assert [(speed["llama_tokens_per_second"], speed["ratio"]) for speed in found["speeds"]] == [(None, None)] * 2


def test_llama_cpp_stands_beside_ours(tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "model.gguf"
    succeeded("convert", MODEL, "--type", "q4_0", "-o", path)
    found = document("bench", "run", path, *SHORT)
    assert [(speed["of"], speed["tokens"]) for speed in found["speeds"]] == [("prompt", 8), ("generation", 2)]
    for speed in found["speeds"]:
        assert speed["ratio"] == speed["tokens_per_second"] / speed["llama_tokens_per_second"]
    assert found["llama_missing"] is None
    assert (found["threads"], found["turns"], found["nbytes"]) == (1, 1, path.stat().st_size)
    assert found["read_share"] == found["weight_bytes_per_second"] / found["read_bytes_per_second"]
