"""A 16-lane vector type for numba: one source becomes AVX-512, AVX2, SSE2 or NEON, and every lane keeps scalar order.

`floats` (f32), `ints` (i32) and `mask` (i1) are values a kernel may hold, add, compare and select; a scalar beside a
vector is copied to all lanes. `load` and `store` move sixteen neighbours of one row of a 2-D array whose rows are
contiguous (a field of a structured array will do). Nothing here contracts, reassociates or assumes away a NaN, so a
lane computes what the same C expression computes without -ffast-math.
"""

from quantize_cli.jit.simd.lanes import (
    absolute,
    all_lanes,
    any_lane,
    bits,
    fitting_int,
    fitting_int_away,
    float_from_bits,
    from_bits,
    highest,
    lane_bits,
    lane_numbers,
    lanes_where,
    largest,
    lookup,
    lowest,
    maximum,
    minimum,
    multiply_add,
    nearest,
    picked,
    round_half_away,
    round_half_even,
    select,
    shift_right,
    splat,
    square_root,
    to_float,
    to_int,
    total,
)
from quantize_cli.jit.simd.memory import (
    fetch_line,
    from_half,
    load,
    load_half,
    load_some,
    prefetch,
    row_address,
    store,
    store_half,
    store_some,
    to_half,
)
from quantize_cli.jit.simd.reduced import row_magnitudes, row_maxima, row_minima
from quantize_cli.jit.simd.rows import row, set_row, transpose, zeros_like
from quantize_cli.jit.simd.vector import LANES, floats, ints, mask

__all__ = [
    "LANES", "absolute", "all_lanes", "any_lane", "bits", "fetch_line", "fitting_int",
    "fitting_int_away", "float_from_bits", "floats", "from_bits", "from_half", "highest", "ints", "lane_bits",
    "lane_numbers", "lanes_where", "largest", "load", "load_half", "load_some", "lookup", "lowest", "mask", "maximum",
    "minimum", "multiply_add", "nearest", "picked", "prefetch", "round_half_away", "round_half_even", "row",
    "row_address", "row_magnitudes", "row_maxima", "row_minima", "select", "set_row", "shift_right", "splat",
    "square_root", "store", "store_half", "store_some", "to_float", "to_half", "to_int", "total", "transpose",
    "zeros_like",
]  # fmt: skip
