"""What the products with blocks of 32 share: four blocks at a time, four lanes for each.

A type says how four blocks, from their addresses, become codes (their first sixteen, and their last, as unsigned
bytes), and scales and offsets (each in the four lanes of its block): weight = scale * code + factor * offset, where the
factor is the type's own. Of four blocks in a row the scales may come faster, from the address of the first.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import ROWS, Dot, offsets
from quantize_cli.dots.kernels.products import dot4
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim_part, operation, row_unpacker
from quantize_cli.jit.simd import multiply_add, row_address, splat, to_float, total
from quantize_cli.jit.simd.addresses import (
    fetch_ahead,
    halves_at,
    halves_of_run,
    load_bytes,
    load_floats,
    set_float,
    store_quarters,
)
from quantize_cli.jit.simd.packed import lane_of

_NOTHING = np.float32(0)


def symmetric(block: np.dtype, codes_of: Any, zero: int) -> Dot:
    """The products of a type with one scale in each block, a half at its start: weight = scale * (code - zero)."""
    scale_of, scale_of_run = _halves(block, "scale")

    @merged
    def scales_of(a, b, c, d):
        scale = scale_of(a, b, c, d)
        return scale, scale

    @merged
    def run_scales_of(block):
        scale = scale_of_run(block)
        return scale, scale

    return dot_of(block, codes_of, scales_of, run_scales_of, np.float32(-zero))


def affine(block: np.dtype, codes_of: Any) -> Dot:
    """The products of a type with two halves in each block: weight = scale * code + minimum."""
    scale_of, scale_of_run = _halves(block, "scale")
    minimum_of, minimum_of_run = _halves(block, "minimum")

    @merged
    def scales_of(a, b, c, d):
        return scale_of(a, b, c, d), minimum_of(a, b, c, d)

    @merged
    def run_scales_of(block):
        return scale_of_run(block), minimum_of_run(block)

    return dot_of(block, codes_of, scales_of, run_scales_of, np.float32(1), halved_sums=True)


def _halves(block: np.dtype, name: str) -> tuple[Any, Any]:
    """Functions that load a half of four blocks: from their addresses, and from that of the first of a run."""
    at, nbytes = getattr(offsets(block), name), block.itemsize

    @merged
    def from_addresses(a, b, c, d):
        return halves_at(a + at, b + at, c + at, d + at)

    if at == 0 and nbytes <= 20:
        return from_addresses, halves_of_run(nbytes)
    return from_addresses, run_of(from_addresses, nbytes)


def run_of(scales_of: Any, nbytes: int) -> Any:
    """What a function gives for four blocks in a row, from the address of the first."""

    @merged
    def run_scales_of(block):
        return scales_of(block, block + nbytes, block + 2 * nbytes, block + 3 * nbytes)

    return run_scales_of


def dot_of(
    block: np.dtype, codes_of: Any, scales_of: Any, run_scales_of: Any, factor: np.float32, halved_sums: bool = False
) -> Dot:
    """The products of a type whose block is the dtype `block`."""
    nbytes = block.itemsize

    @operation(ROWS)
    def rows(args, thread, threads):
        out, count = args.out, args.weights.shape[0]
        start, stop = claim_part(args, count, threads)
        while start < count:
            for row in range(start, stop):
                for token in range(out.shape[0]):
                    out[token, row] = _product(args, row, token, nbytes, codes_of, scales_of, run_scales_of, factor)
            start, stop = claim_part(args, count, threads)

    @row_unpacker
    def unpack(row, columns, codes, scales, offsets):
        _unpack(row, columns, codes, scales, offsets, nbytes, codes_of, scales_of, factor)

    return Dot(rows, unpack, group=32, super_block=False, halved_sums=halved_sums)


@merged
def _product(args, row, token, nbytes, codes_of, scales_of, run_scales_of, factor):
    """One row of weights times one of activations."""
    block, x = row_address(args.weights, row), row_address(args.codes, token)
    x_scale, x_sum = row_address(args.scales, token), row_address(args.sums, token)
    blocks = args.weights.shape[1] // nbytes
    products, rest = splat(_NOTHING), splat(_NOTHING)
    for _ in range(blocks // 4):
        scale, offset = run_scales_of(block)
        fetch_ahead(block, 4 * nbytes)
        codes = codes_of(block, block + nbytes, block + 2 * nbytes, block + 3 * nbytes)
        products, rest = _add(products, rest, codes, scale, offset, x, x_scale, x_sum)
        block += 4 * nbytes
        x += 128
        x_scale += 64
        x_sum += 64
    if blocks % 4:  # the activations of blocks that are not there are zero
        last = block + (blocks % 4 - 1) * nbytes
        addresses = block, min(block + nbytes, last), min(block + 2 * nbytes, last), last
        scale, offset = scales_of(*addresses)
        products, rest = _add(products, rest, codes_of(*addresses), scale, offset, x, x_scale, x_sum)
    return total(products + rest * factor)


@merged
def _add(products, rest, codes, scale, offset, x, x_scale, x_sum):
    """Add four blocks."""
    product = to_float(dot4(dot4(splat(np.int32(0)), codes[0], load_bytes(x)), codes[1], load_bytes(x + 64)))
    products = multiply_add(product, scale * load_floats(x_scale), products)
    return products, multiply_add(offset, load_floats(x_sum), rest)


@merged
def _unpack(row, columns, codes, scales, offsets, nbytes, codes_of, scales_of, factor):
    """One row of blocks -> codes, scales and offsets."""
    blocks = columns // 32
    for start in range(0, blocks, 4):
        a, b, c, d = start, min(start + 1, blocks - 1), min(start + 2, blocks - 1), min(start + 3, blocks - 1)
        addresses = row + a * nbytes, row + b * nbytes, row + c * nbytes, row + d * nbytes
        first, last = codes_of(*addresses)
        store_quarters(first, codes + 32 * a, codes + 32 * b, codes + 32 * c, codes + 32 * d)
        store_quarters(last, codes + 32 * a + 16, codes + 32 * b + 16, codes + 32 * c + 16, codes + 32 * d + 16)
        scale, offset = scales_of(*addresses)
        for lane in range(min(4, blocks - start)):
            set_float(scales + 4 * (start + lane), lane_of(scale, 4 * lane))
            set_float(offsets + 4 * (start + lane), factor * lane_of(offset, 4 * lane))
