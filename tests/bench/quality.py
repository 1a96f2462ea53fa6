"""What each method loses at the sizes of llama.cpp's mixes, on text that no step has seen.

    python -m tests.bench.quality MODEL --calibrate FILE [--calibrate FILE] --text FILE --ctx 256

The first row of a size is what `llama-quantize --imatrix` makes, byte for byte; the others are held against it. Every
file is made and measured by the command itself, in a process of its own, whose memory is taken down.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MIXES = ("q2_k", "iq3_xxs", "q3_k_m", "iq4_xs", "q4_0", "q4_k_m")
SAME_TYPES = {
    "imatrix": ("imatrix",), "imatrix, best": ("imatrix",), "hqq": ("hqq",), "zeroquant": ("zeroquant",),
    "awq, imatrix": ("awq",), "smoothquant, imatrix": ("smoothquant",), "gptq": ("gptq",), "awq, gptq": ("awq", "gptq"),
}  # fmt: skip
"""Methods that give the tensors the types of the mix."""
TEXTLESS = ("hqq",)
"""They have no importance, without which some types cannot be chosen: `--methods` leaves them out there."""


class Made(NamedTuple):
    """A file, and what it took."""

    nbytes: int
    kld: float
    seconds: float
    peak_nbytes: int


def run(arguments: Sequence[object]) -> tuple[str, float, int]:
    """What the command prints, the seconds it took and the most memory."""
    start = time.monotonic()
    command = [sys.executable, "-m", "quantize_cli", *map(str, arguments)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(said.decode())
        output.seek(0)
        return output.read().decode(), time.monotonic() - start, usage.ru_maxrss * 1024


def made(options: argparse.Namespace, arguments: Sequence[object], place: Path) -> Made:
    _, seconds, peak = run(["convert", options.model, *arguments, "--output", place, "--force", "--json"])
    nbytes = place.stat().st_size
    measured, _, _ = run(
        ["eval", place, "--text", options.text, "--ctx", options.ctx, "--reference", options.model, "--json"]
    )
    return Made(nbytes, json.loads(measured)["kld_mean"], seconds, peak)


def rows(options: argparse.Namespace, mix: str, place: Path) -> None:
    """Print a row for each method, as it is done."""
    base: Made | None = None
    for name in options.methods:
        if name == "gptq, --size":
            assert base is not None
            arguments: list[object] = ["--size", base.nbytes]
        else:
            arguments = ["--type", mix]
            for method in SAME_TYPES[name]:
                arguments += ["--method", method]
            if name.endswith("best"):
                arguments += ["--search", "best"]
        if name not in TEXTLESS:
            arguments += ["--ctx", options.ctx]
            arguments += [argument for text in options.calibrate for argument in ("--calibrate", text)]
        found = made(options, arguments, place)
        base = base or found
        print(
            f"| {mix} | {name} | {found.nbytes} | {found.kld:.5f} | {found.kld / base.kld:.3f} | "
            f"{found.seconds:.0f} | {found.peak_nbytes / 1e6:.0f} |", flush=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibrate", type=Path, action="append", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--mix", action="append")
    parser.add_argument("--methods", type=lambda text: text.split(";"), default=[*SAME_TYPES, "gptq, --size"])
    options = parser.parse_args()
    print("| size of | method | bytes | mean KLD | of imatrix's | seconds | MB |\n|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        for mix in options.mix or MIXES:
            rows(options, mix, Path(directory) / "made.gguf")


if __name__ == "__main__":
    main()
