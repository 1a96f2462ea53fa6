"""Peak resident memory of converting a synthetic BF16 checkpoint of 4 GB: `python -m tests.bench.memory`.

Measured from outside, on the process that converts: ru_maxrss, which counts mapped pages while they are resident.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import synthetic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=43, help="43 layers of a 1.1 B Llama's shape are 4.05 GB")
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--threads", default="2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "synthetic"
        nbytes = synthetic.build(source, arguments.layers)
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "quantize_cli", "convert", source, "-o", Path(scratch) / "out.gguf",
             "--type", arguments.type, "--threads", arguments.threads],
            check=True,
        )  # fmt: skip
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{nbytes / 1e9:.2f} GB of weights to {arguments.type} in {seconds:.1f} s, on {arguments.threads} threads")
    print(f"peak resident memory {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
