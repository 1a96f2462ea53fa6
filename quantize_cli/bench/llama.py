"""llama.cpp running a model, where the xllamacpp wheel carries it: called through ctypes, to compare with."""

import ctypes
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.bench import ggml
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.runtime.sampler import greedy

BATCH = 512
"""Tokens of a prompt that are run at once."""


class _ModelParameters(ctypes.Structure):
    """struct llama_model_params (llama.h), passed on as it is, with room to spare."""

    _fields_ = (("words", ctypes.c_uint64 * 64),)


class _ContextParameters(ctypes.Structure):
    """struct llama_context_params (llama.h), its first fields by name, with room to spare for the others."""

    _fields_ = (
        ("context", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
        ("unit_batch", ctypes.c_uint32),
        ("counts", ctypes.c_uint32 * 4),
        ("threads", ctypes.c_int32),
        ("batch_threads", ctypes.c_int32),
        ("kinds", ctypes.c_int32 * 4),
        ("flash_attention", ctypes.c_int32),
        ("rotary", ctypes.c_float * 8),
        ("callback", ctypes.c_void_p * 2),
        ("key_type", ctypes.c_int32),
        ("value_type", ctypes.c_int32),
        ("rest", ctypes.c_uint64 * 64),
    )


class _Batch(ctypes.Structure):
    """struct llama_batch (llama.h): a count and six pointers."""

    _fields_ = (("count", ctypes.c_int32), ("pointers", ctypes.c_void_p * 6))


_DEFAULTS = {
    "batch": 2048, "unit_batch": 512, "flash_attention": -1, "key_type": GgmlType.F16, "value_type": GgmlType.F16,
}  # fmt: skip
"""The defaults show whether llama_context_params has its fields where we expect them."""

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_model_default_params": (_ModelParameters, []),
    "llama_context_default_params": (_ContextParameters, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _ModelParameters]),
    "llama_init_from_model": (_POINTER, [_POINTER, _ContextParameters]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_model_free": (None, [_POINTER]),
    "llama_free": (None, [_POINTER]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_batch_get_one": (_Batch, [_POINTER, _INT]),
    "llama_decode": (_INT, [_POINTER, _Batch]),
    "llama_get_logits_ith": (_POINTER, [_POINTER, _INT]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, ctypes.c_bool]),
}
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_silent = _LOG(lambda level, message, data: None)


@cache
def library() -> ctypes.CDLL:
    """llama.cpp ready to run models, and silent. InputError where there is none, or one of another layout."""
    shared = ggml.library()
    if shared is None:
        raise InputError("xllamacpp is not installed")
    # A handle of our own: what a function takes and gives is kept with the handle, not with the library.
    loaded = ctypes.CDLL(shared._name)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    loaded.llama_log_set(_silent, None)
    loaded.llama_backend_init()
    defaults = loaded.llama_context_default_params()
    if {name: getattr(defaults, name) for name in _DEFAULTS} != _DEFAULTS:
        raise InputError("this xllamacpp lays out llama_context_params in another order")
    return loaded


class Llama:
    """An `Engine`: a GGUF file as llama-bench runs it, mapped and repacked, with float16 keys and values.

    InputError where there is no llama.cpp, or it does not load the file.
    """

    def __init__(self, path: Path, context: int, threads: int) -> None:
        self._llama, self._path = library(), path
        model = self._llama.llama_model_load_from_file(str(path).encode(), self._llama.llama_model_default_params())
        if not model:
            raise InputError(f"llama.cpp does not load {path}")
        parameters = self._llama.llama_context_default_params()
        parameters.context, parameters.batch, parameters.unit_batch = context, BATCH, BATCH
        parameters.threads = parameters.batch_threads = threads
        self._context = self._llama.llama_init_from_model(model, parameters)
        weakref.finalize(self, _free, self._llama, self._context, model)
        if not self._context:
            raise InputError(f"llama.cpp has no room to run {path}")
        self._vocabulary = self._llama.llama_vocab_n_tokens(self._llama.llama_model_get_vocab(model))

    def prompt(self, tokens: np.ndarray) -> int:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), False)
        for start in range(0, len(tokens), BATCH):
            self._decode(tokens[start : start + BATCH])
        return self._likeliest()

    def step(self, token: int) -> int:
        self._decode(np.array([token]))
        return self._likeliest()

    def _decode(self, tokens: np.ndarray) -> None:
        """Read tokens (n,), n <= BATCH, after those read before; logits are made of the last alone."""
        ids = np.ascontiguousarray(tokens, np.int32)
        status = self._llama.llama_decode(self._context, self._llama.llama_batch_get_one(ids.ctypes.data, ids.size))
        if status:
            raise InputError(f"{self._path}: llama.cpp stops reading with status {status}")

    def _likeliest(self) -> int:
        address = self._llama.llama_get_logits_ith(self._context, -1)
        return greedy(np.ctypeslib.as_array((ctypes.c_float * self._vocabulary).from_address(address)))


def _free(llama: ctypes.CDLL, context: int | None, model: int) -> None:
    if context:
        llama.llama_free(context)
    llama.llama_model_free(model)
