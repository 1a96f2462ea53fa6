"""Whatever arithmetic NumPy picks, and whatever numba compiles for, files and figures are the same."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
MODEL, TEXT = ROOT / "examples" / "tiny-llama", ROOT / "examples" / "sample.txt"
BLAS = ("Haswell", "SkylakeX", "Zen", "Nehalem")
"""Kernels that OpenBLAS can be told to take."""
LEVELS = ("", "X86_V4 X86_V3 AVX512_ICL AVX512_SPR")
"""What NumPy is told to do without."""
PROCESSORS = ("haswell", "nehalem")


def environments() -> list[dict[str, str]]:
    plain = [{"OPENBLAS_CORETYPE": blas, "NPY_DISABLE_CPU_FEATURES": level} for blas, level in product(BLAS, LEVELS)]
    return plain + [{"OPENBLAS_CORETYPE": BLAS[-1], "NUMBA_CPU_NAME": processor} for processor in PROCESSORS]


def run(environment: dict[str, str], *arguments: object) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "quantize_cli", *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mix", ["q4_k_m", "iq3_xxs"])
@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_calibrated_files_are_the_same(method: str, mix: str, tmp_path: Path) -> None:
    digests = set()
    for environment in environments():
        made = tmp_path / "made.gguf"
        run(environment, "convert", MODEL, "--type", mix, "--method", method, "--calibrate", TEXT, "--ctx", 256,
            "--output", made, "--force")  # fmt: skip
        digests.add(hashlib.sha256(made.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_figures_are_the_same(tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    run({}, "convert", MODEL, "--bits", 4, "--output", made)
    arguments = ("eval", made, "--text", TEXT, "--ctx", 256, "--reference", MODEL, "--json")
    found = {json.dumps(json.loads(run(environment, *arguments))) for environment in environments()}
    assert len(found) == 1
