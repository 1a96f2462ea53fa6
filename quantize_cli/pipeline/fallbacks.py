"""What stands in for a type whose blocks the rows of a tensor do not fill."""

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType

FALLBACKS = {
    GgmlType.IQ4_NL: ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"),
    GgmlType.Q4_0: ("Q2_K", "Q3_K", "Q2_0", "TQ1_0", "TQ2_0"),
    GgmlType.Q5_0: ("Q4_K",),
    GgmlType.Q5_1: ("Q5_K",),
    GgmlType.Q8_0: ("Q6_K",),
}
"""What stands in for types whose blocks a row does not fill (tensor_type_fallback)."""


def fitting(type_: GgmlType, columns: int) -> tuple[GgmlType, str]:
    """The type itself if rows of `columns` fill its blocks, else the reference's stand-in, and why."""
    block = BLOCK_SHAPE[type_].weights
    if columns % block == 0:
        return type_, ""
    reason = f"{columns} columns do not fill {type_.name.lower()} blocks of {block}"
    for substitute, names in FALLBACKS.items():
        if type_.name in names and columns % BLOCK_SHAPE[substitute].weights == 0:
            return substitute, reason
    return GgmlType.F16, reason
