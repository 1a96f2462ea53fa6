"""The command as a shell runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODEL = EXAMPLES / "tiny-llama"
COMMAND = (sys.executable, "-m", "quantize_cli")


def quantize(*arguments: object, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """What `quantize` with these arguments leaves behind; its output is text."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(),
        **options,
    )


def environment() -> dict[str, str]:
    """Ours, with the package importable from any directory."""
    root = str(EXAMPLES.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def succeeded(*arguments: object, cwd: Path | None = None) -> str:
    """What it says on stdout, given that it ends well."""
    done = quantize(*arguments, cwd=cwd)
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    return done.stdout


def document(*arguments: object, cwd: Path | None = None) -> Any:
    """The one JSON document it prints."""
    return json.loads(succeeded(*arguments, "--json", cwd=cwd))


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *named: str) -> None:
    """Exactly one error line and at most a hint after it, which name all of `named`, and nothing on stdout."""
    lines = done.stderr.splitlines()
    kinds = [line.partition(": ")[0] for line in lines]
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert [kind for kind in kinds if kind in ("error", "hint")] == kinds[kinds.index("error") :], done.stderr
    assert (kinds.count("error"), kinds.count("hint") <= 1, "Traceback" in done.stderr) == (1, True, False)
    assert all(line.isprintable() and not line.endswith(".") for line in lines), done.stderr
    assert [name for name in named if name not in done.stderr] == [], done.stderr
