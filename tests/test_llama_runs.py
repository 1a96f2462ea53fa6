"""llama.cpp runs every kind of file that is made with a text, and its logits are ours: `make compare`."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import recipe
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.cli.console import EXAMPLES, MODEL, succeeded
from tests.runtime.mixtures import five_experts
from tests.runtime.test_transformer import normalized_error

CUT = ("--calibrate", EXAMPLES / "sample.txt", "--ctx", "64", "--chunks", "4")
AS_LLAMA_CPP = 1e-3
"""Normalized squared error. Types without a product of their own here are multiplied in float32, there in 8 bits."""
MIXES = [name for name in recipe.presets() if recipe.named(name).default not in FLOAT_TYPES]
METHODS = {
    "imatrix": (), "imatrix, best": ("--search", "best"), "zeroquant": (), "awq, imatrix": (),
    "smoothquant, imatrix": (), "awq, gptq": (), "smoothquant, zeroquant": (),
}  # fmt: skip
TEXTLESS = {"hqq": ("--method", "hqq"), "best": ("--search", "best")}
KINDS = {
    "a small budget": ("--size", "900000"), "a budget": ("--bpw", "3.5"), "a large budget": ("--fits", "100MB"),
    "a certificate": ("--bits", "4", "--certify", EXAMPLES / "sample.txt"),
    "layers of several types": ("--type", "q4_0", "--tensor", "blk.1.*=iq1_m", "--tensor", "blk.2.*=nvfp4"),
}  # fmt: skip

pytestmark = pytest.mark.slow


def assert_runs(path: Path) -> None:
    """Its logits are finite there and ours."""
    tokens = np.random.default_rng(0).integers(3, 1000, 64).astype(np.int32)
    expected, found = oracle.Model(path, exact=True).logits(tokens), from_model(open_model(path)).logits(tokens)
    assert np.isfinite(expected).all()
    assert normalized_error(found, expected) < AS_LLAMA_CPP


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_with_gptq(mix: str, tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--type", mix, *CUT, "-o", tmp_path / "out.gguf")
    assert_runs(tmp_path / "out.gguf")


@pytest.mark.parametrize("mix", ["iq2_xs", "q3_k_m", "iq4_xs", "q4_0", "q5_k_m"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_with_a_text(name: str, mix: str, tmp_path: Path) -> None:
    methods = [part for method in name.split(", ") if method != "best" for part in ("--method", method)]
    succeeded("convert", MODEL, "--type", mix, *CUT, *methods, *METHODS[name], "-o", tmp_path / "out.gguf")
    assert_runs(tmp_path / "out.gguf")


@pytest.mark.parametrize("mix", ["q2_k", "q4_0", "q4_k_m", "q5_1"])
@pytest.mark.parametrize("name", TEXTLESS)
def test_every_method_without_a_text(name: str, mix: str, tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--type", mix, *TEXTLESS[name], "-o", tmp_path / "out.gguf")
    assert_runs(tmp_path / "out.gguf")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    succeeded("convert", MODEL, *KINDS[kind], *CUT, "-o", tmp_path / "out.gguf")
    assert_runs(tmp_path / "out.gguf")


def test_a_file_in_parts(tmp_path: Path) -> None:
    succeeded("convert", MODEL, "--bits", "4", *CUT, "--split-size", "1MB", "-o", tmp_path / "out.gguf")
    parts = sorted(tmp_path.glob("out-*.gguf"))
    assert len(parts) > 1
    assert_runs(parts[0])


@pytest.mark.parametrize("mix", ["q4_k_m", "mxfp4_moe"])
def test_experts(mix: str, tmp_path: Path) -> None:
    mixture = five_experts(tmp_path)
    succeeded("convert", mixture, "--type", mix, *CUT, "-o", tmp_path / "out.gguf")
    assert_runs(tmp_path / "out.gguf")
