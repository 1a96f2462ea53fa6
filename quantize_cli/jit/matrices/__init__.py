"""Products, factors and inverses of matrices with the same bits on every machine.

A BLAS adds up in an order that depends on the processor. Here each number of a product is the sum over its terms in
their order, sixteen such numbers side by side; what a machine is like only says how many are in the making at once.
"""

from quantize_cli.jit.matrices.factors import cholesky, inverse, inverse_of_triangle, solve_triangle
from quantize_cli.jit.matrices.grams import Packed, add_gram, add_packed_gram, pack
from quantize_cli.jit.matrices.products import multiply
from quantize_cli.jit.matrices.small import inverses, inverses_of_triangles, weighted_grams

__all__ = [
    "Packed", "add_gram", "add_packed_gram", "cholesky", "inverse", "inverse_of_triangle", "inverses",
    "inverses_of_triangles", "multiply", "pack", "solve_triangle", "weighted_grams",
]  # fmt: skip
