"""What the products with blocks of 256 share: one block at a time.

A type says how one block adds to the sums of a row, `add_block(total, rest, block, x, x_scale, x_sums)`: `total` takes
scale * codes * activations, `rest` what the offsets add; and how one block is unpacked, `unpack_block(block, codes,
scales, offsets)`. Both take addresses.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import ROWS, Dot
from quantize_cli.dots.kernels.products import dot4
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim_part, operation, row_unpacker
from quantize_cli.jit.simd import row_address, splat, to_float, total
from quantize_cli.jit.simd.addresses import fetch_ahead, float_at

_NOTHING = np.float32(0)


def dot_of(block: np.dtype, group: int, add_block: Any, unpack_block: Any) -> Dot:
    """The products of a type whose block is the dtype `block`, with a scale for each `group` columns."""
    nbytes = block.itemsize

    @operation(ROWS)
    def rows(args, thread, threads):
        out, count = args.out, args.weights.shape[0]
        start, stop = claim_part(args, count, threads)
        while start < count:
            for row in range(start, stop):
                for token in range(out.shape[0]):
                    out[token, row] = _product(args, row, token, nbytes, add_block)
            start, stop = claim_part(args, count, threads)

    @row_unpacker
    def unpack(row, columns, codes, scales, offsets):
        for index in range(columns // 256):
            at = 4 * index * (256 // group)
            unpack_block(row + index * nbytes, codes + 256 * index, scales + at, offsets + at)

    return Dot(rows, unpack, group=group, super_block=True)


@merged
def _product(args, row, token, nbytes, add_block):
    """One row of weights times one of activations."""
    block, x = row_address(args.weights, row), row_address(args.codes, token)
    x_scale, x_sums = row_address(args.scales, token), row_address(args.sums, token)
    products, rest = splat(_NOTHING), splat(_NOTHING)
    for _ in range(args.weights.shape[1] // nbytes):
        fetch_ahead(block, nbytes)
        products, rest = add_block(products, rest, block, x, float_at(x_scale), x_sums)
        block += nbytes
        x += 256
        x_scale += 32
        x_sums += 64
    return total(products + rest)


@merged
def times(codes, activations):
    """Codes of 64 columns times their activations, four columns in each lane."""
    return to_float(dot4(splat(np.int32(0)), codes, activations))
