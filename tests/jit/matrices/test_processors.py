"""Compiled for other processors, some without fused products, sums and functions have the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import same


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["x86-64", "nehalem", "haswell"])
def test_bits_are_the_same_on(processor: str, tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "XDG_CACHE_HOME": str(tmp_path)}
    made = subprocess.run([sys.executable, "-m", "tests.same"], env=environment, capture_output=True, text=True)
    assert made.stdout.strip() == same.digest(), made.stderr
