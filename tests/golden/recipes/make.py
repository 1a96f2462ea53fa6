"""Ask llama-quantize which type it would give each tensor.

    python -m tests.golden.recipes.make BIN VERSION [case ...]

BIN is a folder with llama-quantize; nothing is quantized, as --dry-run states every decision. VERSION is what it was
built from. Each case of `cases` becomes <case>.json here. Run by hand, never by a test: what is committed is a promise.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from quantize_cli.formats.gguf.layout import TensorInfo
from quantize_cli.formats.gguf.writer import lay_out
from tests.golden.recipes.cases import CASES, MIXES, Case, summary

FOLDER = Path(__file__).resolve().parent
_LINE = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = +(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE)


def decisions(quantizer: Path, case: Case, mix: str, path: Path) -> dict[str, str]:
    pure = ["--pure"] if case.pure else []
    given = [part for _, pattern, type_ in case.overrides for part in ("--tensor-type", f"{pattern}={type_}")]
    said = subprocess.run(
        [quantizer, "--dry-run", *pure, *given, path, mix.upper()], capture_output=True, text=True, check=False
    )
    found = {name: (new or old).lower() for name, old, new in _LINE.findall(said.stdout + said.stderr)}
    if said.returncode or found.keys() != dict(case.shapes()).keys():
        sys.exit(f"{mix}: {said.stdout[-2000:]} {said.stderr[-2000:]}")
    return found


def write_empty(case: Case, path: Path) -> None:
    """The case as a GGUF file whose weights are a hole."""
    model = case.model()
    layout = lay_out(model.metadata, [TensorInfo(t.name, t.shape, t.type) for t in model.tensors])
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.nbytes)


def main(folder: str, version: str, *names: str) -> None:
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "case.gguf"
            write_empty(CASES[name], path)
            found = {mix: decisions(Path(folder) / "llama-quantize", CASES[name], mix, path) for mix in MIXES}
        golden = {"version": version, **{mix: summary(types) for mix, types in found.items()}}
        (FOLDER / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
