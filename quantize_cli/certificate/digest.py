"""What tensors are, in 64 hex digits: digests that no shard, order or file format changes.

SHA-256 over all tensors in the order of their names, each as

    name, a zero byte, shape as "rows columns", a zero byte, type, a zero byte, digest of its rows

so that tensors are hashed apart from each other, on several threads, and never whole in memory. Where tensors count as
their bytes, the digest is SHA-256 of them. Where floats count as weights, the type is "F32" whatever stores them, and
the digest is SHA-256 of the upper 16 bits of all float32, then SHA-256 of their lower 16 bits, which is left out if
those are all zero: so BF16, which is the upper half of a float32, costs no more than hashing it as it lies.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np

from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType
from quantize_cli.model.tensor import Tensor

_CHUNK_WEIGHTS = 1 << 18
"""Rows held at a time, in weights: at most 1 MiB, which is still in cache when it is hashed."""
_THREADS = 4
"""More readers than this no disk feeds."""


def weights_sha256(tensors: Sequence[Tensor]) -> str:
    """Of the weights that F32, F16 and BF16 stand for, and of what all other types store.

    A checkpoint and the float GGUF file made from it, which keeps its vectors in F32, have the same.
    """
    return _of_all(tensors, FLOAT_TYPES)


def stored_sha256(tensors: Sequence[Tensor]) -> str:
    """Of the types and bytes that files hold."""
    return _of_all(tensors, frozenset())


def _of_all(tensors: Sequence[Tensor], as_weights: Collection[GgmlType]) -> str:
    """`as_weights` are the types that count as the float32 they stand for."""

    def of_rows(tensor: Tensor) -> bytes:
        return _of_halves(tensor) if tensor.type in as_weights else _of_bytes(tensor)

    largest_first = sorted(tensors, key=lambda tensor: prod(tensor.shape), reverse=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashed = zip(largest_first, pool.map(of_rows, largest_first), strict=True)
        digests = {tensor.name: digest for tensor, digest in hashed}
    whole = hashlib.sha256()
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        type_ = GgmlType.F32 if tensor.type in as_weights else tensor.type
        words = (tensor.name, " ".join(map(str, tensor.shape)), type_.name)
        whole.update(b"".join(word.encode("utf-8", "surrogatepass") + b"\0" for word in words) + digests[tensor.name])
    return whole.hexdigest()


def _of_bytes(tensor: Tensor) -> bytes:
    digest = hashlib.sha256()
    for rows in _rows(tensor):
        digest.update(_bytes(rows))
    return digest.digest()


def _of_halves(tensor: Tensor) -> bytes:
    """Of float32, though no BF16 is made one: its lower half is zero."""
    uppers, lowers, are_lowers_zero = hashlib.sha256(), hashlib.sha256(), True
    for rows in _rows(tensor):
        if tensor.type is GgmlType.BF16:
            uppers.update(_bytes(rows))
        else:
            halves = rows.astype("<f4", copy=False).view("<u2")
            lower = np.ascontiguousarray(halves[:, ::2])
            uppers.update(_bytes(np.ascontiguousarray(halves[:, 1::2])))
            lowers.update(_bytes(lower))
            are_lowers_zero = are_lowers_zero and not lower.any()
    return uppers.digest() if are_lowers_zero else uppers.digest() + lowers.digest()


def _bytes(rows: np.ndarray) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data


def _rows(tensor: Tensor) -> Iterator[np.ndarray]:
    """(n, columns) of numbers or bytes, some rows at a time."""
    if not prod(tensor.shape):  # a hostile header can claim 2**60 rows of no columns
        return
    chunk = max(1, _CHUNK_WEIGHTS // tensor.columns)
    for start in range(0, tensor.row_count, chunk):
        yield np.ascontiguousarray(tensor.read(start, min(start + chunk, tensor.row_count)))
