"""Write the golden blocks from ggml itself: `python -m tests.golden.quants.make`.

Run once for a new type, by hand, never by a test: what is committed is a promise.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from quantize_cli import quants
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from tests import distributions, naive_iq, oracle

FOLDER = Path(__file__).parent
KINDS = ("normal", "heavy-tailed", "mostly zero groups", "one huge value")


def sample(type_: GgmlType) -> np.ndarray:
    """A few blocks of each kind, (rows, 512) f32."""
    kinds = [kind for kind in KINDS if type_.name not in naive_iq.TWINS or kind not in distributions.OVERFLOWING]
    return np.concatenate([distributions.weights(kind, 2048).reshape(-1, 512)[:2] for kind in kinds])


def main() -> None:
    for type_ in quants.supported():
        if type_ is GgmlType.F32 or (FOLDER / f"{type_.name.lower()}.npz").exists():
            continue
        weights, importance = sample(type_), distributions.importance("random", 512)
        assert weights.shape[1] % BLOCK_SHAPE[type_].weights == 0
        blocks = {"weighted_blocks": oracle.quantize(type_, weights, importance)}
        if not quants.find(type_).needs_importance:
            blocks["blocks"] = oracle.quantize(type_, weights)
        np.savez_compressed(
            FOLDER / f"{type_.name.lower()}.npz", weights=weights, importance=importance, **blocks,
            oracle=np.array(f"xllamacpp {version('xllamacpp')}"),
        )  # fmt: skip


if __name__ == "__main__":
    main()
