"""What the products with blocks of 32 share: four blocks at a time, four lanes for each.

A type says how four blocks, given their addresses, become codes (their first sixteen, and their last, as unsigned
bytes), and scales and offsets (each in the four lanes of its block): weight = scale * code + factor * offset, where the
factor is the type's own. Of four blocks in a row the scales may come faster, from the address of the first.
"""

import numpy as np

from quantize_cli.dots.kernels.lanes import fused, lane_of, total_of
from quantize_cli.dots.kernels.memory import fetch_ahead, load_bytes, load_floats, set_float, store_quarters
from quantize_cli.dots.kernels.products import dot4
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim_part, f32_array, u8_array
from quantize_cli.jit.simd import splat, to_float

_NOTHING = np.float32(0)


@merged
def multiply_rows(words, thread, threads, nbytes, codes_of, scales_of, run_scales_of, factor):
    """The work of `Dot.rows`, for blocks of `nbytes`."""
    weights, out = u8_array(words, 1), f32_array(words, 13)
    columns = weights.shape[1] // nbytes * 32
    rows = weights.shape[0]
    start, stop = claim_part(words, rows, threads)
    while start < rows:
        for row in range(start, stop):
            for token in range(out.shape[0]):
                out[token, row] = _product(
                    words, row, token, columns // 32, nbytes, codes_of, scales_of, run_scales_of, factor
                )
        start, stop = claim_part(words, rows, threads)


@merged
def _product(words, row, token, blocks, nbytes, codes_of, scales_of, run_scales_of, factor):
    """One row of weights times one of activations."""
    block, x = words[1] + row * words[3], words[4] + token * words[6]
    x_scale, x_sum = words[7] + 4 * token * words[9], words[10] + 4 * token * words[12]
    total, rest = splat(_NOTHING), splat(_NOTHING)
    for _ in range(blocks // 4):
        places = block, block + nbytes, block + 2 * nbytes, block + 3 * nbytes
        scale, offset = run_scales_of(block)
        fetch_ahead(block, 4 * nbytes)
        total, rest = _add(total, rest, codes_of(*places), scale, offset, x, x_scale, x_sum)
        block += 4 * nbytes
        x += 128
        x_scale += 64
        x_sum += 64
    if blocks % 4:  # the activations of blocks that are not there are zero
        last = block + (blocks % 4 - 1) * nbytes
        places = block, min(block + nbytes, last), min(block + 2 * nbytes, last), last
        scale, offset = scales_of(*places)
        total, rest = _add(total, rest, codes_of(*places), scale, offset, x, x_scale, x_sum)
    return total_of(total + rest * factor)


@merged
def _add(total, rest, codes, scale, offset, x, x_scale, x_sum):
    """Add four blocks."""
    product = to_float(dot4(dot4(splat(np.int32(0)), codes[0], load_bytes(x)), codes[1], load_bytes(x + 64)))
    total = fused(product, scale * load_floats(x_scale), total)
    return total, fused(offset, load_floats(x_sum), rest)


@merged
def open_row(row, columns, codes, scales, offsets, nbytes, codes_of, scales_of, factor):
    """The work of `Dot.opener`, for blocks of `nbytes`."""
    blocks = columns // 32
    for start in range(0, blocks, 4):
        indices = start, min(start + 1, blocks - 1), min(start + 2, blocks - 1), min(start + 3, blocks - 1)
        a, b, c, d = indices
        places = row + a * nbytes, row + b * nbytes, row + c * nbytes, row + d * nbytes
        first, last = codes_of(*places)
        store_quarters(first, codes + 32 * a, codes + 32 * b, codes + 32 * c, codes + 32 * d)
        store_quarters(last, codes + 32 * a + 16, codes + 32 * b + 16, codes + 32 * c + 16, codes + 32 * d + 16)
        scale, offset = scales_of(*places)
        for lane in range(min(4, blocks - start)):
            set_float(scales + 4 * (start + lane), lane_of(scale, 4 * lane))
            set_float(offsets + 4 * (start + lane), factor * lane_of(offset, 4 * lane))
