"""A group's matrix, or stack of matrices, whose numbers of four or eight bits stand under scales of blocks."""

from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Group, origin
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled import grid
from quantize_cli.schemes.scaled.grid import EXPONENTS, FLOATS, Block
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, NibblePairs, ScaledScales
from quantize_cli.schemes.scaled.rows import ScaledRows

FLOATS_OF_8_BITS = ("F8_E4M3", "F8_E5M2")
BYTES = ("U8", "I8")
WIDE = ("F32", "F16", "BF16")


def stack(group: Group, ending: str, dtypes: tuple[str, ...]) -> StoredTensor:
    """The part that ends so: of two dimensions, or of three for a stack of matrices, none of them zero.

    InputError when it is missing, or another.
    """
    stored = group.part(ending, dtypes)
    if len(stored.shape) not in (2, 3) or not prod(stored.shape):
        raise InputError(f"{origin(stored)} has shape {list(stored.shape)}, not that of a matrix", DAMAGED_HINT)
    return stored


def of_8_bits(
    stored: StoredTensor, scales: StoredTensor, allowed: tuple[Block, ...], zeros: StoredTensor | None = None
) -> ScaledRows:
    """Numbers of eight bits, floats or integers, in blocks of an allowed size."""
    block = grid.block_of(scales, stored.shape, allowed)
    laid = grid.block_scales(scales, stored.shape, block)
    zero_points = None
    if zeros is not None:
        if zeros.dtype != "I8" or zeros.shape != scales.shape:
            raise InputError(
                f"{origin(zeros)} has dtype {zeros.dtype} and shape {list(zeros.shape)}, "
                f"expected I8 and {list(scales.shape)}",
                DAMAGED_HINT,
            )
        zero_points = BlockScales(grid.reshaped(zeros, laid.stored.shape), laid.matrix_rows, laid.block_rows)
    return ScaledRows(stored.shape, Rows(stored), laid, block[1], zero_points)


def floats_of_4_bits(packed: StoredTensor, scales: StoredTensor) -> ScaledRows:
    """Pairs of E2M1 in bytes: in blocks of 32 under powers of two (MXFP4), or of 16 under floats (NVFP4)."""
    shape = (*packed.shape[:-1], 2 * packed.shape[-1])
    width = 32 if scales.dtype in EXPONENTS else 16
    if shape[-1] % width:
        raise InputError(f"{origin(packed)} has {shape[-1]} columns, which blocks of {width} do not divide")
    laid = grid.block_scales(scales, shape, (1, width))
    return ScaledRows(shape, FloatsOf4Bits(NibblePairs(packed)), laid, width)


def with_outer(rows: ScaledRows, outer: StoredTensor, divided: bool) -> ScaledRows:
    """The same under one more scale of each matrix, by which the others are multiplied or divided."""
    matrix_rows, columns = rows.shape[-2:]
    if outer.dtype not in FLOATS[:3]:
        raise InputError(f"{origin(outer)} has dtype {outer.dtype}, which is that of no scale", DAMAGED_HINT)
    laid = grid.block_scales(outer, rows.shape, (matrix_rows, columns))
    assert isinstance(rows.scales, BlockScales)
    scales = ScaledScales(rows.scales, laid, divided)
    return ScaledRows(rows.shape, rows.numbers, scales, rows.block_columns, rows.zeros, rows.factors)


def refuse_float(group: Group, stored: StoredTensor) -> None:
    """InputError for scales beside weights that are floats: one of the two is another checkpoint's."""
    if stored.dtype in WIDE:
        endings = ", ".join(quoted(ending) for ending in group.parts if group.parts[ending] is not stored)
        raise InputError(f"{origin(stored)} has dtype {stored.dtype}, but {endings} stand beside it", DAMAGED_HINT)
