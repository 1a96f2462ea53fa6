"""quantize compare: models side by side, each with the figures it has alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded

TEXT = EXAMPLES / "sample.txt"
SHORT = ("--text", TEXT, "--ctx", "128", "--chunks", "3")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("compare")
    paths = [directory / f"{mix}.gguf" for mix in ("q8_0", "q4_0")]
    for path in paths:
        succeeded("convert", MODEL, "--type", path.stem, "-o", path)
    return paths


def test_each_model_has_the_figures_it_has_alone(quantized: list[Path]) -> None:
    found = document("compare", MODEL, *quantized, *SHORT)
    assert found["reference"] == str(MODEL)
    first, *others = found["models"]
    assert first["kld_mean"] is None
    for path, item in zip(quantized, others, strict=True):
        alone = document("eval", path, *SHORT, "--reference", MODEL)
        assert item["model"] == str(path)
        for key in ("perplexity", "perplexity_ratio", "kld_mean", "kld_mean_interval", "kld_p99", "top1"):
            assert item[key] == pytest.approx(alone[key], rel=1e-6)
        assert item["nbytes"] == path.stat().st_size
        assert item["tokens_per_second"] > 0
        assert 20e6 < item["peak_nbytes"] < 4e9
    assert first["bits_per_weight"] > others[0]["bits_per_weight"] > others[1]["bits_per_weight"]
    assert 0 < others[0]["kld_mean"] < others[1]["kld_mean"]
    assert sum(others[0]["types"].values()) < others[0]["nbytes"]


def test_another_reference_can_be_named(quantized: list[Path]) -> None:
    found = document("compare", *quantized, *SHORT, "--reference", MODEL)
    assert [item["model"] for item in found["models"]] == [str(path) for path in quantized]
    assert all(item["kld_mean"] > 0 for item in found["models"])


def test_the_table_and_the_page_say_the_same(quantized: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = succeeded("compare", *quantized, *SHORT, "--html", page)
    rows = [line.split() for line in said.splitlines()]
    assert [row[0] for row in rows] == ["model", *map(str, quantized)]
    document = page.read_text()
    for cell in rows[2][1:]:
        assert cell in document
    assert document.count("<svg") == 4


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((MODEL, *SHORT), 2, "there is only one model"),
        ((MODEL, MODEL, *SHORT), 2, "is given twice"),
        ((MODEL, "absent.gguf", *SHORT), 3, "absent.gguf: no such file"),
        ((MODEL, MODEL / "model.safetensors"), 2, "missing option '--text'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(arguments: tuple[Any, ...], code: int, says: str) -> None:
    assert_refused(quantize("compare", *arguments), code, says)
