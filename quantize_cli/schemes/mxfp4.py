"""MXFP4: floats of four bits (E2M1), 32 under a power of two; stacked experts as gpt-oss has them, or single matrices.

    X_blocks (experts, out, in / 32, 16) u8    the even column low; without `experts` for a single matrix
    X_scales (experts, out, in / 32) u8        byte e stands for 2**(e - 127)
    X.weight or X.weight_packed (out, in / 2) u8 with X.weight_scale (out, in / 32) u8

    weight = code * scale

A stack becomes "X.weight" of shape (experts, out, in). Where gpt-oss is in floats the same numbers are called "X", and
each matrix is transposed.

Source: transformers, integrations/mxfp4.py; OCP Microscaling Formats 1.0.
"""

from math import prod

from quantize_cli.errors import InputError
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.grid import EXPONENTS, reshaped
from quantize_cli.schemes.scaled.readers import BlockScales, FloatsOf4Bits, NibblePairs
from quantize_cli.schemes.scaled.rows import ScaledFloats

_BLOCK_NBYTES = 16


def decoder(settings: Settings) -> Decoder:
    return _decode


def _decode(group: Group) -> Tensor | None:
    if "_blocks" in group:
        return _in_blocks(group)
    if ".weight_scale" not in group:
        return None
    packed = matrix.stack(group, ".weight_packed" if ".weight_packed" in group else ".weight", matrix.BYTES)
    rows = matrix.floats_of_4_bits(packed, group.part(".weight_scale", EXPONENTS))
    return decoded(group, rows, rows.shape, "mxfp4")


def _in_blocks(group: Group) -> Tensor:
    stored = group.part("_blocks", ("U8",))
    if len(stored.shape) not in (3, 4) or stored.shape[-1] != _BLOCK_NBYTES or not prod(stored.shape):
        raise InputError(
            f"{origin(stored)} has shape {list(stored.shape)}, not that of blocks of {_BLOCK_NBYTES} bytes",
            DAMAGED_HINT,
        )
    *before, count, nbytes = stored.shape
    scales = group.part("_scales", EXPONENTS, stored.shape[:-1])
    rows = matrix.floats_of_4_bits(reshaped(stored, (*before, count * nbytes)), scales)
    return decoded(group, rows, rows.shape, "mxfp4", "" if group.module.endswith(".weight") else ".weight")


SCHEME = Scheme(
    methods=("mxfp4",),
    endings=("_blocks", "_scales", ".weight", ".weight_packed", ".weight_scale"),
    marks=("_blocks",),
    decoder=decoder,
    sources=(BlockScales, FloatsOf4Bits, NibblePairs, ScaledFloats),
    dropped=(".input_scale", ".k_scale", ".v_scale"),
)
