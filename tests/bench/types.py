"""Speed of quantizing each type beside ggml's own C, in one process on one core: `python -m tests.bench.types`.

Turns alternate between the two, and each figure is the median of them, so that what else the machine does falls on
both alike.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from formats.ggml import GgmlType
from quantize_cli import quants
from tests import oracle

MIXED = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
MIXED += ("Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4")


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(type_: GgmlType, weights: np.ndarray, turns: int) -> tuple[float, float]:
    """Million weights per second, ours and ggml's."""
    ours, theirs = [], []
    quants.compile([type_])
    for _ in range(turns):
        ours.append(seconds(lambda: quants.encode(type_, weights)))
        theirs.append(seconds(lambda: oracle.quantize(type_, weights)))
    return weights.size / statistics.median(ours) / 1e6, weights.size / statistics.median(theirs) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=MIXED)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    weights = (np.random.default_rng(0).standard_normal((1024, 4096)) * 0.02).astype(np.float32)
    print(f"{'type':6} {'M weights/s':>12} {'ggml':>8} {'ratio':>7}")
    for name in arguments.types:
        ours, theirs = compare(GgmlType[name.upper()], weights, arguments.turns)
        print(f"{name.lower():6} {ours:12.1f} {theirs:8.1f} {ours / theirs:7.1f}")


if __name__ == "__main__":
    main()
