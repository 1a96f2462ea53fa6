"""Old processors write the same bytes: LLVM is told to compile for them, and the golden bytes are asked for again."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

_GOLDEN = Path(__file__).with_name("test_golden.py")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors named here are x86-64")
@pytest.mark.parametrize("processor", ["x86-64", "nehalem", "sandybridge", "haswell"])
def test_golden_bytes_on_an_older_processor(processor: str, tmp_path: Path) -> None:
    environment = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", _GOLDEN],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
