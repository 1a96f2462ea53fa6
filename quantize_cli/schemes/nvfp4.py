"""NVFP4 by itself: floats of four bits (E2M1), 16 under a float of eight bits, all of those under one float.

    X.weight or X.weight_packed (out, in / 2) u8    the even column low
    X.weight_scale (out, in / 16) f8_e4m3
    X.weight_scale_2 f32, or its reciprocal X.weight_global_scale

    weight = code * (scale * scale_2), or code * (scale / global_scale)

Source: ModelOpt, modelopt/torch/quantization/qtensor/nvfp4_tensor.py.
"""

from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import Decoder, Group, Scheme, decoded
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, NibblePairs, ScaledScales
from quantize_cli.schemes.scaled.rows import ScaledFloats


def decoder(settings: Settings) -> Decoder:
    return _decode


def _decode(group: Group) -> Tensor | None:
    if ".weight_scale" not in group:
        return None
    packed = matrix.stack(group, ".weight_packed" if ".weight_packed" in group else ".weight", matrix.BYTES)
    rows = matrix.floats_of_4_bits(packed, group.part(".weight_scale", ("F8_E4M3",)))
    divided = ".weight_global_scale" in group
    outer = group.part(".weight_global_scale" if divided else ".weight_scale_2", ("F32",))
    rows = matrix.with_outer(rows, outer, divided)
    return decoded(group, rows, rows.shape, "nvfp4")


SCHEME = Scheme(
    methods=("nvfp4",),
    endings=(".weight", ".weight_packed", ".weight_scale", ".weight_scale_2", ".weight_global_scale"),
    marks=(),
    decoder=decoder,
    sources=(BlockScales, FloatsOf4Bits, NibblePairs, ScaledFloats, ScaledScales),
    dropped=(".input_scale", ".input_global_scale", ".k_scale", ".v_scale"),
)
