"""AWQ, as AutoAWQ writes it (version "gemm"): codes of 4 bits, asymmetric.

    X.qweight  (in, out / 8) i32      codes, packed along `out`; output c of eight stands in nibble _NIBBLE[c]
    X.qzeros   (groups, out / 8) i32  zero points, packed in the same order
    X.scales   (groups, out) f16

    weight[o, i] = (code[i, o] - zero[i // group_size, o]) * scale[i // group_size, o]

The scales by which AWQ multiplies channels are in the norms and matrices before, and nothing is left to undo.

Source: AutoAWQ, awq/utils/packing_utils.py and awq/modules/linear/gemm.py.
"""

from functools import partial

from quantize_cli.errors import InputError
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, group_size
from quantize_cli.schemes.packing.readers import Columns, PackedAcross

_NIBBLE = (0, 4, 1, 5, 2, 6, 3, 7)
_BITS = 4
_WORDS = ("I32",)
_SCALES = ("F16", "BF16", "F32")
_VERSIONS = ("gemm", "exllama")
"""That are stored in this way; "gemv", "gemv_fast" and "llm-awq" are not."""


def decoder(settings: Settings) -> Decoder:
    if settings.text("version", "gemm").lower() not in _VERSIONS:
        raise settings.refuse("version")
    for key in ("bits", "w_bit"):
        if settings.integer(key, _BITS) != _BITS:
            raise settings.refuse(key)
    key = "group_size" if "group_size" in settings.values else "q_group_size"
    size = settings.integer(key) if settings.values.get(key) is not None else None
    if size is not None and (size < -1 or size == 0):
        raise settings.refuse(key)
    return partial(_decode, size)


def _decode(stated_size: int | None, group: Group) -> Tensor | None:
    if ".qweight" not in group:
        return None
    words, scales = group.matrix(".qweight", _WORDS), group.matrix(".scales", _SCALES)
    columns, (groups, rows) = words.shape[0], scales.shape
    if words.shape[1] * 8 != rows:
        raise InputError(
            f"{origin(words)} has {words.shape[1]} words of 8 codes in a row, {origin(scales)} has {rows} columns",
            hint=DAMAGED_HINT,
        )
    zeros = group.part(".qzeros", _WORDS, (groups, rows // 8))
    source = AffineRows(
        (rows, columns),
        _BITS,
        PackedAcross(words, _BITS, order=_NIBBLE),
        Columns(scales),
        PackedAcross(zeros, _BITS, order=_NIBBLE),
        group_size(stated_size, columns, scales, groups),
    )
    return decoded(group, source, (rows, columns), "awq, 4 bits")


SCHEME = Scheme(
    methods=("awq", "auto-round:awq"),
    endings=(".qweight", ".qzeros", ".scales"),
    marks=(".qweight",),
    decoder=decoder,
    sources=(AffineRows, Columns, PackedAcross),
)
