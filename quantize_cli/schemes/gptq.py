"""GPTQ, as AutoGPTQ, GPTQModel and AutoRound write it: codes of 2, 3, 4 or 8 bits.

    X.qweight  (in * bits / 32, out) i32     codes, packed along `in`: see packing/bit_stream.py
    X.qzeros   (groups, out * bits / 32) i32 zero points, packed along `out`
    X.scales   (groups, out) f16
    X.g_idx    (in,) i32                     the group of each column; columns stand in their own order

    weight[o, i] = (code[i, o] - zero[g_idx[i], o]) * scale[g_idx[i], o]

Version 1 (`checkpoint_format` "gptq", or none) stores zero - 1, and no format says what a stored code of all ones is:
here it is zero = 2**bits, as in llama.cpp's converter. Version 2 ("gptq_v2") stores zero.

Source: GPTQModel, gptqmodel/nn_modules/qlinear and gptqmodel/utils/model.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, group_size
from quantize_cli.schemes.packing.readers import Columns, PackedAcross, PackedDown

_BITS = (2, 3, 4, 8)
_WORDS = ("I32",)
_SCALES = ("F16", "BF16", "F32")
_ADDED = {"gptq": 1, "gptq_v2": 0}
"""To stored zero points."""
_OVERRIDES = ("dynamic", "extra_config")
"""Keys under which GPTQModel and AutoRound keep other bits and group sizes for some matrices."""


@dataclass(frozen=True)
class _Layout:
    """What the configuration says of all matrices."""

    where: str
    added: int
    bits: int | None
    group_size: int | None
    """None where the configuration does not say, or not for every matrix."""


def decoder(settings: Settings) -> Decoder:
    key = "checkpoint_format" if "checkpoint_format" in settings.values else "format"
    format_ = settings.text(key, "gptq")
    if format_ not in _ADDED:
        raise settings.refuse(key)
    bits = settings.integer("bits") if _is_fixed(settings.values, "bits") else None
    size = settings.integer("group_size") if _is_fixed(settings.values, "group_size") else None
    if bits is not None and bits not in _BITS:
        raise settings.refuse("bits")
    if size is not None and (size < -1 or size == 0):
        raise settings.refuse("group_size")
    return partial(_decode, _Layout(settings.where, _ADDED[format_], bits, size))


def _is_fixed(values: Mapping[str, Any], key: str) -> bool:
    """Whether the configuration gives one value for all matrices."""
    return values.get(key) is not None and not any(values.get(override) for override in _OVERRIDES)


def _decode(layout: _Layout, group: Group) -> Tensor | None:
    if ".qweight" not in group:
        return None
    words, scales = group.matrix(".qweight", _WORDS), group.matrix(".scales", _SCALES)
    groups, rows = scales.shape
    bits, columns = _size(layout, group, rows)
    if words.shape[1] != rows:
        told = f"{origin(scales)} has {rows}"
        raise InputError(f"{origin(words)} has shape {list(words.shape)}, {told} columns", DAMAGED_HINT)
    zeros = group.part(".qzeros", _WORDS, (groups, _word_count(rows, bits)))
    order = group.part(".g_idx", _WORDS, (columns,)) if ".g_idx" in group else None
    source = AffineRows(
        (rows, columns),
        bits,
        PackedDown(words, bits, columns),
        Columns(scales),
        PackedAcross(zeros, bits, layout.added),
        group_size(layout.group_size, columns, scales, groups),
        groups=order,
    )
    return decoded(group, source, (rows, columns), f"gptq, {bits} bits")


def _size(layout: _Layout, group: Group, rows: int) -> tuple[int, int]:
    """Bits of a code, and columns, of a matrix of so many rows; InputError where the parts do not agree on them."""
    words, zeros = group.parts[".qweight"], group.matrix(".qzeros", _WORDS)
    order = group.parts.get(".g_idx")
    for bits in _BITS if layout.bits is None else (layout.bits,):
        columns = words.shape[0] * 32 // bits if order is None else prod(order.shape)
        if (_word_count(columns, bits), _word_count(rows, bits)) == (words.shape[0], zeros.shape[1]):
            return bits, columns
    stated = "2, 3, 4 and 8 bits" if layout.bits is None else f"{layout.bits} bits, which {layout.where} says"
    raise InputError(
        f"{origin(words)} has {words.shape[0]} words for a row, and {origin(zeros)} {zeros.shape[1]} for {rows} rows, "
        f"which does not fit {stated}",
        DAMAGED_HINT,
    )


def _word_count(codes: int, bits: int) -> int:
    """Words that hold so many codes; the last may not be full."""
    return -(-codes * bits // 32) if 32 % bits == 0 else -(-codes // 32) * bits


SCHEME = Scheme(
    methods=("gptq", "auto-round:gptq"),
    endings=(".qweight", ".qzeros", ".scales", ".g_idx"),
    marks=(".g_idx",),
    decoder=decoder,
    sources=(AffineRows, Columns, PackedAcross, PackedDown),
)
