"""Make importance matrices of the example with llama-imatrix, and what llama-quantize makes with them.

    python -m tests.golden.imatrix.make BIN VERSION

BIN is a folder with llama-imatrix and llama-quantize, VERSION what they were built from. Writes tiny-llama.imatrix in
the newer format, tiny-llama.dat in the older, and golden.json: per mix the metadata llama-quantize adds, and each
tensor's type and digest. Run by hand, never by a test: what is committed is a promise.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from tests.golden.converter.make_golden import digest

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[2] / "examples"
FILES = ("tiny-llama.imatrix", "tiny-llama.dat")
MIXES = ("q8_0", "q4_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k")


def summary(path: Path) -> dict[str, Any]:
    """What the file says of its importance, and its tensors."""
    file = read_gguf(path)
    tensors = {t.name: [t.dtype, digest(t.rows(0, t.row_count).tobytes())] for t in file.tensors}
    said = {key: value.data for key, value in file.metadata.items() if key.startswith("quantize.")}
    return {"metadata": said, "tensors": tensors}


def main(folder: str, version: str) -> None:
    tools, golden = Path(folder), {"version": version}
    with tempfile.TemporaryDirectory() as scratch:
        weights, made = Path(scratch) / "f32.gguf", Path(scratch) / "made.gguf"
        made = plan.make(open_model(EXAMPLES / "tiny-llama"), recipe.named("f32"))
        writing.write({weights: made}, Threads(2))
        for name, kind in zip(FILES, ("gguf", "dat"), strict=True):
            # Run where the text lies, so that no path of this machine gets into the files.
            asked = ("-m", weights, "-f", "sample.txt", "-c", "256", "--output-format", kind, "-o", HERE / name)
            subprocess.run([tools / "llama-imatrix", *asked], check=True, cwd=EXAMPLES)
        for mix in MIXES:
            asked = ("--imatrix", FILES[0], weights, made, mix.upper())
            subprocess.run([tools / "llama-quantize", *asked], check=True, cwd=HERE)
            golden[mix] = summary(made)
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
