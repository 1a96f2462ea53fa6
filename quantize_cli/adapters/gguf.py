"""Adapters as llama.cpp has them: a GGUF file of type "adapter" (convert_lora_to_gguf.py, llama-adapter.cpp).

Tensors are `<name>.lora_a` (rank, columns) and `<name>.lora_b` (rows, rank). Of the token embedding, whose rows are
looked up, the two are stored as (rows, rank) and (columns, rank).
"""

from pathlib import Path

import numpy as np

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.adapters.factors import factors_of, finite
from quantize_cli.errors import InputError, not_written
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import TensorInfo, Value, f32, text
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.shards import refuse_concatenated
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard, atomic_file
from quantize_cli.formats.quoted import quoted

_A, _B = ".lora_a", ".lora_b"
_EMBEDDING = "token_embd.weight"
_ALPHA = "adapter.lora.alpha"


def write_gguf_adapter(path: Path, adapter: Adapter, guard: OverwriteGuard = MAY_OVERWRITE) -> None:
    """The file whole, or nothing; OutputError where it cannot be written.

    It has one alpha: terms with another have the difference multiplied into b.
    """
    alpha = next(iter(adapter.terms.values())).alpha
    arrays: dict[str, np.ndarray] = {}
    for name, term in adapter.terms.items():
        a, b = term.a, term.b if term.alpha == alpha else term.b * np.float32(term.alpha / alpha)
        arrays[name + _A], arrays[name + _B] = (b, a.T) if name == _EMBEDDING else (a, b)
    layout = lay_out(
        _metadata(adapter, alpha), [TensorInfo(name, values.shape, GgmlType.F32) for name, values in arrays.items()]
    )
    try:
        with atomic_file(path, layout.nbytes, guard) as output:
            output.write(layout.header, 0)
            for offset, values in zip(layout.offsets, arrays.values(), strict=True):
                output.write(np.ascontiguousarray(values, np.float32), offset)
    except OSError as error:
        raise not_written(path, error) from error


def _metadata(adapter: Adapter, alpha: float) -> dict[str, Value]:
    return {
        "general.architecture": text(adapter.architecture),
        "general.type": text("adapter"),
        "adapter.type": text("lora"),
        _ALPHA: f32(alpha),
    }


def read_gguf_adapter(path: Path) -> Adapter:
    """The adapter in a GGUF file; InputError for a file that holds something else."""
    file, source = read_gguf(path), f"{path}: "
    refuse_concatenated(file)
    kind = scalars.string(source, file.metadata, "general.type", "model")
    if kind != "adapter":
        raise InputError(f"{path}: a {quoted(kind)}, not an adapter", hint="an adapter says so in general.type")
    low_rank = scalars.string(source, file.metadata, "adapter.type")
    if low_rank != "lora" or "adapter.alora.invocation_tokens" in file.metadata:
        raise InputError(f"{path}: an adapter of type {quoted(low_rank)}, only plain lora is supported")
    alpha = scalars.number(source, file.metadata, _ALPHA)
    stored = {tensor.name: tensor for tensor in file.tensors}
    terms = {}
    for name in factors_of(source, stored, (_A, _B)):
        first, second = (finite(stored[name + ending]) for ending in (_A, _B))
        a, b = (second.T, first) if name == _EMBEDDING else (first, second)
        if len(a) != b.shape[1]:
            raise InputError(f"{path}: tensor {quoted(name)} has factors of ranks {len(a)} and {b.shape[1]}")
        # llama.cpp takes an alpha of zero for one that is not stated.
        terms[name] = LowRankTerm(a, b, alpha or float(len(a)))
    architecture = scalars.string(source, file.metadata, "general.architecture")
    return Adapter(architecture, terms, str(path))
