"""Compiled for other processors, products are the same: the tests of this folder run in a process that plays one."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_products_are_exact_on(processor: str) -> None:
    arguments = ["-q", "tests/dots/test_products.py", "-k", "any_size and 17-100 or those_of_ggml and -1"]
    environment = {**os.environ, "NUMBA_CPU_NAME": processor}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
