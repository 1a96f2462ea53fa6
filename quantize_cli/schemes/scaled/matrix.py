"""A group's matrix, or stack of matrices, whose numbers of four or eight bits stand under scales of blocks."""

from dataclasses import replace
from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.sources import Source
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Group, origin
from quantize_cli.schemes.packing.affine import AffineRows, Constant, Reader
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled import grid
from quantize_cli.schemes.scaled.grid import EXPONENTS, Block
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, IntegersInBytes, NibblePairs, ScaledScales
from quantize_cli.schemes.scaled.rows import ScaledColumns, ScaledFloats

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


def of_8_bits(stored: StoredTensor, scales: StoredTensor, allowed: tuple[Block, ...]) -> ScaledFloats:
    """Floats of eight bits, in blocks of an allowed size."""
    block = grid.block_of(scales, stored.shape, allowed)
    return ScaledFloats(stored.shape, Rows(stored), grid.block_scales(scales, stored.shape, block), block[1])


def floats_of_4_bits(packed: StoredTensor, scales: StoredTensor) -> ScaledFloats:
    """Pairs of E2M1 in bytes: in blocks of 32 under powers of two (MXFP4), or of 16 under floats (NVFP4)."""
    shape = (*packed.shape[:-1], 2 * packed.shape[-1])
    width = 32 if scales.dtype in EXPONENTS else 16
    if shape[-1] % width:
        raise InputError(f"{origin(packed)} has {shape[-1]} columns, which blocks of {width} do not divide")
    return ScaledFloats(shape, FloatsOf4Bits(NibblePairs(packed)), grid.block_scales(scales, shape, (1, width)), width)


def with_outer(floats: ScaledFloats, outer: StoredTensor, divided: bool) -> ScaledFloats:
    """The same under one more scale of each matrix, by which the others are multiplied or divided."""
    assert isinstance(floats.scales, BlockScales)
    laid = grid.block_scales(outer, floats.shape, grid.block_of(outer, floats.shape, (grid.TENSOR,)))
    return replace(floats, scales=ScaledScales(floats.scales, laid, divided))


def integers(
    codes: Reader, shape: tuple[int, ...], bits: int, scales: BlockScales, block: Block, zeros: StoredTensor | None
) -> AffineRows:
    """Signed integers of so many bits, less zero points that are stored as the scales are, where there are any."""
    points: Reader = Constant(0)
    if zeros is not None:
        if zeros.dtype != "I8":
            raise InputError(f"{origin(zeros)} has dtype {zeros.dtype}, not I8", DAMAGED_HINT)
        points = grid.block_values(zeros, shape, block)
    return AffineRows((prod(shape[:-1]), shape[-1]), bits, codes, scales, points, block[1], is_signed=True)


def of_integers(
    stored: StoredTensor,
    scales: StoredTensor,
    allowed: tuple[Block, ...],
    zeros: StoredTensor | None = None,
    bits: int = 8,
) -> AffineRows:
    """Integers of at most eight bits in a byte each, in blocks of an allowed size."""
    block = grid.block_of(scales, stored.shape, allowed)
    laid = grid.block_scales(scales, stored.shape, block)
    codes = Rows(stored) if bits == 8 else IntegersInBytes(stored, bits)
    return integers(codes, stored.shape, bits, laid, block, zeros)


def with_factors(source: Source, factors: StoredTensor, columns: int) -> ScaledColumns:
    """The rows of a source times one factor for each column; InputError where there are not as many."""
    if prod(factors.shape) != columns or factors.dtype not in WIDE:
        raise InputError(
            f"{origin(factors)} has dtype {factors.dtype} and shape {list(factors.shape)} for {columns} columns",
            DAMAGED_HINT,
        )
    return ScaledColumns(source, factors)


def refuse_float(group: Group, stored: StoredTensor) -> None:
    """InputError for scales beside weights that are floats: one of the two is another checkpoint's."""
    if stored.dtype in WIDE:
        endings = ", ".join(quoted(ending) for ending in group.parts if group.parts[ending] is not stored)
        raise InputError(f"{origin(stored)} has dtype {stored.dtype}, but {endings} stand beside it", DAMAGED_HINT)
