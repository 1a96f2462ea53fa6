"""FP8, as DeepSeek, Qwen and Mistral publish it: floats of eight bits under a scale of each block, row or matrix.

    X.weight (out, in) f8_e4m3 or f8_e5m2
    X.weight_scale_inv, X.scale, X.weight_scale or X.qscale_weight
        (ceil(out / 128), ceil(in / 128)), or of rows, or of the matrix; floats, or bytes e for 2**(e - 127)
    X.weight (out, in / 2) i8 or u8 with exponents (out, in / 32): pairs of E2M1, as experts have it

    weight = code * scale, also where the scale is called inverse

Source: transformers, integrations/finegrained_fp8.py; llama.cpp, conversion/base.py.
"""

from functools import partial

from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import Decoder, Group, Scheme, decoded
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.grid import CHANNEL, EXPONENTS, FLOATS, TENSOR, Block
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, NibblePairs
from quantize_cli.schemes.scaled.rows import ScaledFloats

_SCALES = (".weight_scale_inv", ".weight_scale", ".qscale_weight", ".scale")
_UNSTATED = (TENSOR, CHANNEL, (128, 128))


def decoder(settings: Settings) -> Decoder:
    sides = settings.values.get("weight_block_size")
    if sides is None:
        return partial(_decode, _UNSTATED)
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise settings.refuse("weight_block_size")
    return partial(_decode, ((sides[0], sides[1]),))


def _decode(blocks: tuple[Block, ...], group: Group) -> Tensor | None:
    ending = next((ending for ending in _SCALES if ending in group), None)
    if ending is None or ".weight" not in group:
        return None
    stored = matrix.stack(group, ".weight", (*matrix.FLOATS_OF_8_BITS, *matrix.BYTES, *matrix.WIDE))
    matrix.refuse_float(group, stored)
    if stored.dtype in matrix.BYTES:
        rows = matrix.floats_of_4_bits(stored, group.part(ending, EXPONENTS))
        return decoded(group, rows, rows.shape, "fp8, experts of mxfp4")
    rows = matrix.of_8_bits(stored, group.part(ending, (*FLOATS, *EXPONENTS)), blocks)
    return decoded(group, rows, stored.shape, "fp8")


SCHEME = Scheme(
    methods=("fp8", "fbgemm_fp8"),
    endings=(".weight", *_SCALES),
    marks=(".weight_scale_inv", ".qscale_weight"),
    decoder=decoder,
    sources=(BlockScales, FloatsOf4Bits, NibblePairs, Rows, ScaledFloats),
    dropped=(
        ".activation_scale", "_activation_scale", ".input_scale", ".input_scale_ub", ".qscale_act", ".k_scale",
        ".v_scale",
    ),
)  # fmt: skip
