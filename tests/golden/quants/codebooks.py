"""Write the codebooks of the IQ types as ggml has them: `python -m tests.golden.quants.codebooks`.

Every index is put in a block with scale 1 and no signs, ggml dequantizes it, and the ranks of the values are the codes.
Run by hand, when a type with a new codebook is added.
"""

from pathlib import Path

import numpy as np

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType
from tests import oracle

FOLDER = Path(quants.__file__).parent / "codebooks"
BOOKS = {
    "iq1": (GgmlType.IQ1_S, 2048, 8),
    "iq2_xxs": (GgmlType.IQ2_XXS, 256, 8),
    "iq2_xs": (GgmlType.IQ2_XS, 512, 8),
    "iq2_s": (GgmlType.IQ2_S, 1024, 8),
    "iq3_xxs": (GgmlType.IQ3_XXS, 256, 4),
    "iq3_s": (GgmlType.IQ3_S, 512, 4),
}


def read(type_: GgmlType, points: int, length: int) -> np.ndarray:
    """The points of a type's codebook, (points,) u2: codes from the lowest bits up, two or three bits each."""
    quant = quants.find(type_)
    empty = np.zeros((1, quant.block.itemsize), np.uint8).view(quant.block)[:, 0]
    codes = np.repeat(quant.unpack(empty), points * length // 256)
    codes["scale"] = 1
    codes["point"] = np.arange(points).reshape(len(codes), -1)
    packed = quant.pack(codes).view(np.uint8).reshape(len(codes), -1)
    values = (
        np.abs(oracle.dequantize(type_, packed)) if type_ is not GgmlType.IQ1_S else oracle.dequantize(type_, packed)
    )
    ranks = np.unique(values, return_inverse=True)[1].reshape(points, length)
    return (ranks << (3 if length == 4 else 2) * np.arange(length)).sum(1).astype("<u2")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, shape in BOOKS.items():
        np.save(FOLDER / f"{name}.npy", read(*shape))


if __name__ == "__main__":
    main()
