"""What the products with blocks of 256 share: one block at a time.

A type says how one block adds to the sums of a row, `add_block(total, rest, block, x, x_scale, x_sums)`: `total` takes
scale * codes * activations, `rest` what the offsets add; and how one block is opened, `open_block(block, codes, scales,
offsets)`. Both are given addresses.
"""

import numpy as np

from quantize_cli.dots.kernels.lanes import total_of
from quantize_cli.dots.kernels.memory import fetch_ahead, float_at
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim_part, f32_array
from quantize_cli.jit.simd import splat

_NOTHING = np.float32(0)


@merged
def multiply_rows(words, thread, threads, nbytes, add_block):
    """The work of `Dot.rows`, for blocks of `nbytes`."""
    out, rows = f32_array(words, 13), words[2]
    start, stop = claim_part(words, rows, threads)
    while start < rows:
        for row in range(start, stop):
            for token in range(out.shape[0]):
                out[token, row] = _product(words, row, token, words[3] // nbytes, nbytes, add_block)
        start, stop = claim_part(words, rows, threads)


@merged
def _product(words, row, token, blocks, nbytes, add_block):
    """One row of weights times one of activations."""
    block, x = words[1] + row * words[3], words[4] + token * words[6]
    x_scale, x_sums = words[7] + 4 * token * words[9], words[10] + 4 * token * words[12]
    total, rest = splat(_NOTHING), splat(_NOTHING)
    for _ in range(blocks):
        fetch_ahead(block, nbytes)
        total, rest = add_block(total, rest, block, x, float_at(x_scale), x_sums)
        block += nbytes
        x += 256
        x_scale += 32
        x_sums += 64
    return total_of(total + rest)


@merged
def open_row(row, columns, codes, scales, offsets, nbytes, group, open_block):
    """The work of `Dot.opener`, for blocks of `nbytes`."""
    for block in range(columns // 256):
        at = 4 * block * (256 // group)
        open_block(row + block * nbytes, codes + 256 * block, scales + at, offsets + at)
