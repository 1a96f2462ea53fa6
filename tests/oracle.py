"""llama.cpp as the xllamacpp wheel carries it, called through ctypes: what tests compare bytes and logits with."""

import ctypes
import os
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.bench import ggml
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType, row_nbytes

_F32, _F16 = GgmlType.F32, GgmlType.F16


class _TypeTraits(ctypes.Structure):
    """struct ggml_type_traits (ggml.h), up to the function used here."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_weights", ctypes.c_int64),
        ("block_interleave", ctypes.c_int64),
        ("block_nbytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


class _ProductTraits(ctypes.Structure):
    """struct ggml_type_traits_cpu (ggml-cpu.h)."""

    _fields_ = (
        ("from_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("product", ctypes.CFUNCTYPE(
            None, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
            ctypes.c_size_t, ctypes.c_int,
        )),
        ("partner", ctypes.c_int),
        ("rows", ctypes.c_int64),
    )  # fmt: skip


class _ModelParameters(ctypes.Structure):
    """struct llama_model_params (llama.h) as an opaque value, with room to spare."""

    _fields_ = (("words", ctypes.c_uint64 * 64),)


class _ContextParameters(ctypes.Structure):
    """struct llama_context_params (llama.h), its first fields by name, with room to spare for the others."""

    _fields_ = (
        ("context", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
        ("unit_batch", ctypes.c_uint32),
        ("sequences", ctypes.c_uint32),
        ("unused_counts", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_int32),
        ("batch_threads", ctypes.c_int32),
        ("unused_kinds", ctypes.c_int32 * 4),
        ("flash_attention", ctypes.c_int32),
        ("unused_rotary", ctypes.c_float * 8),
        ("unused_callback", ctypes.c_void_p * 2),
        ("key_type", ctypes.c_int32),
        ("value_type", ctypes.c_int32),
        ("rest", ctypes.c_uint64 * 64),
    )


class _Batch(ctypes.Structure):
    """struct llama_batch (llama.h)."""

    _fields_ = (
        ("count", ctypes.c_int32),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("embeddings", ctypes.c_void_p),
        ("positions", ctypes.POINTER(ctypes.c_int32)),
        ("sequence_counts", ctypes.POINTER(ctypes.c_int32)),
        ("sequences", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("wanted", ctypes.POINTER(ctypes.c_int8)),
    )


class _Candidate(ctypes.Structure):
    """struct llama_token_data (llama.h)."""

    _fields_ = (("token", ctypes.c_int32), ("logit", ctypes.c_float), ("probability", ctypes.c_float))


class _Candidates(ctypes.Structure):
    """struct llama_token_data_array (llama.h)."""

    _fields_ = (
        ("data", ctypes.POINTER(_Candidate)),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


_POINTER, _SIZE, _INT, _BOOL = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_bool
_FLOAT = ctypes.c_float
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_get_type_traits": (ctypes.POINTER(_TypeTraits), [_INT]),
    "llama_model_default_params": (_ModelParameters, []),
    "llama_context_default_params": (_ContextParameters, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _ModelParameters]),
    "llama_init_from_model": (_POINTER, [_POINTER, _ContextParameters]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_model_free": (None, [_POINTER]),
    "llama_free": (None, [_POINTER]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_vocab_bos": (_INT, [_POINTER]),
    "llama_vocab_get_add_bos": (_BOOL, [_POINTER]),
    "llama_vocab_is_eog": (_BOOL, [_POINTER, _INT]),
    "llama_tokenize": (_INT, [_POINTER, ctypes.c_char_p, _INT, _POINTER, _INT, _BOOL, _BOOL]),
    "llama_detokenize": (_INT, [_POINTER, _POINTER, _INT, _POINTER, _INT, _BOOL, _BOOL]),
    "llama_batch_init": (_Batch, [_INT, _INT, _INT]),
    "llama_batch_free": (None, [_Batch]),
    "llama_decode": (_INT, [_POINTER, _Batch]),
    "llama_get_logits": (_POINTER, [_POINTER]),
    "llama_set_embeddings": (None, [_POINTER, _BOOL]),
    "llama_get_embeddings_seq": (_POINTER, [_POINTER, _INT]),
    "llama_model_n_embd": (_INT, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, _BOOL]),
    "llama_adapter_lora_init": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "llama_set_adapters_lora": (_INT, [_POINTER, ctypes.POINTER(_POINTER), _SIZE, ctypes.POINTER(_FLOAT)]),
    "llama_sampler_init_top_k": (_POINTER, [_INT]),
    "llama_sampler_init_top_p": (_POINTER, [_FLOAT, _SIZE]),
    "llama_sampler_init_min_p": (_POINTER, [_FLOAT, _SIZE]),
    "llama_sampler_apply": (None, [_POINTER, ctypes.POINTER(_Candidates)]),
    "llama_sampler_free": (None, [_POINTER]),
}
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_silent = _LOG(lambda level, message, data: None)


@cache
def library() -> ctypes.CDLL:
    """llama.cpp, ready to call and silent; the test is skipped where xllamacpp is not installed."""
    loaded = ggml.library()
    if loaded is None:
        pytest.skip("xllamacpp is not installed, so there is no llama.cpp to compare with")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    loaded.llama_log_set(_silent, None)
    loaded.llama_backend_init()
    defaults = loaded.llama_context_default_params()
    if (defaults.batch, defaults.key_type, defaults.value_type) != (2048, _F16, _F16):
        pytest.skip("this xllamacpp lays out llama_context_params in another order")
    return loaded


def quantize(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Weights (rows, columns) f32 -> the blocks ggml writes for them, (rows, row bytes) u8."""
    rows, columns = weights.shape
    weights = np.ascontiguousarray(weights, np.float32)
    stored = np.zeros((rows, row_nbytes(type_, columns)), np.uint8)
    weighting = None if importance is None else np.ascontiguousarray(importance, np.float32)
    pointer = None if weighting is None else weighting.ctypes.data
    written = library().ggml_quantize_chunk(type_, weights.ctypes.data, stored.ctypes.data, 0, rows, columns, pointer)
    assert written == stored.size
    return stored


def dequantize(type_: GgmlType, stored: np.ndarray) -> np.ndarray:
    """Blocks (..., row bytes) u8 -> the weights ggml reads from them, (..., columns) f32."""
    block = BLOCK_SHAPE[type_]
    stored = np.ascontiguousarray(stored)
    weights = np.empty((*stored.shape[:-1], stored.shape[-1] // block.nbytes * block.weights), np.float32)
    traits = library().ggml_get_type_traits(type_).contents
    assert (traits.block_weights, traits.block_nbytes) == block
    if type_ == _F32:
        weights[...] = stored.view(np.float32)
    else:
        traits.to_float(stored.ctypes.data, weights.ctypes.data, weights.size)
    return weights


def product(type_: GgmlType, stored: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Rows of blocks (rows, row bytes) u8 times activations (n, columns) f32, rounded and multiplied by ggml.

    (n, rows) f32.
    """
    llama, columns = library(), activations.shape[1]
    llama.ggml_cpu_init()
    llama.ggml_get_type_traits_cpu.restype = ctypes.POINTER(_ProductTraits)
    traits = llama.ggml_get_type_traits_cpu(type_).contents
    partner = llama.ggml_get_type_traits_cpu(traits.partner).contents
    found, rounded = np.empty((len(activations), len(stored)), np.float32), np.empty(8 * columns, np.uint8)
    for x, row in zip(np.ascontiguousarray(activations), found, strict=True):
        if traits.partner == GgmlType.F32:
            rounded[: 4 * columns] = x.view(np.uint8)
        else:
            partner.from_float(x.ctypes.data, rounded.ctypes.data, columns)
        for at, blocks in enumerate(stored):
            traits.product(columns, row[at:].ctypes.data, 0, blocks.ctypes.data, 0, rounded.ctypes.data, 0, 1)
    return found


def filtered(logits: np.ndarray, chain: Sequence[tuple[str, tuple[float, ...]]]) -> list[int]:
    """The tokens that llama.cpp's samplers leave of logits (vocabulary,), in ascending order.

    `chain` names each sampler as its llama_sampler_init_* function does, with that function's arguments.
    """
    llama = library()
    data = (_Candidate * logits.size)(*((token, float(logit), 0.0) for token, logit in enumerate(logits)))
    candidates = _Candidates(data, logits.size, -1, False)
    for name, arguments in chain:
        sampler = getattr(llama, f"llama_sampler_init_{name}")(*arguments)
        llama.llama_sampler_apply(sampler, ctypes.byref(candidates))
        llama.llama_sampler_free(sampler)
    return sorted(candidates.data[index].token for index in range(candidates.size))


class Model:
    """A GGUF file as llama.cpp runs it; `exact` keeps keys and values in float32 instead of its usual float16."""

    def __init__(self, path: Path, context: int = 512, exact: bool = False) -> None:
        llama = library()
        self._model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        assert self._model, f"llama.cpp does not load {path}"
        parameters = llama.llama_context_default_params()
        parameters.context = parameters.batch = parameters.unit_batch = context
        parameters.threads = parameters.batch_threads = os.cpu_count() or 1
        if exact:
            parameters.key_type = parameters.value_type = _F32
            parameters.flash_attention = 0
        self._context = llama.llama_init_from_model(self._model, parameters)
        weakref.finalize(self, _free, llama, self._context, self._model)
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self.vocabulary: int = llama.llama_vocab_n_tokens(self._vocabulary)

    @property
    def bos(self) -> int | None:
        """The token llama.cpp puts in front of a text, if it puts one."""
        llama = library()
        return llama.llama_vocab_bos(self._vocabulary) if llama.llama_vocab_get_add_bos(self._vocabulary) else None

    @property
    def ends(self) -> set[int]:
        """The tokens after which llama.cpp generates nothing."""
        return {token for token in range(self.vocabulary) if library().llama_vocab_is_eog(self._vocabulary, token)}

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        raw = text.encode() if isinstance(text, str) else text
        # A byte that is no text is read as a character of three bytes.
        tokens = np.zeros(3 * len(raw) + 16, np.int32)
        count = library().llama_tokenize(
            self._vocabulary, raw, len(raw), tokens.ctypes.data, tokens.size, add_special, parse_special
        )
        assert count >= 0
        found: list[int] = tokens[:count].tolist()
        return found

    def detokenize(self, tokens: list[int], remove_special: bool = False, unparse_special: bool = True) -> bytes:
        ids = np.array(tokens, np.int32)
        raw = np.zeros(64 * len(tokens) + 64, np.uint8)
        count = library().llama_detokenize(
            self._vocabulary, ids.ctypes.data, ids.size, raw.ctypes.data, raw.size, remove_special, unparse_special
        )
        assert count >= 0
        return raw[:count].tobytes()

    def adapt(self, path: Path, scale: float = 1.0) -> None:
        """Compute with the adapter at `path` from now on; it is freed with the model."""
        adapter = library().llama_adapter_lora_init(self._model, str(path).encode())
        assert adapter, f"llama.cpp does not load {path}"
        adapters, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(scale)
        assert library().llama_set_adapters_lora(self._context, adapters, 1, scales) == 0

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (n,), n <= context -> logits (n, vocabulary) f32, each text from position zero."""
        llama = library()
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        self._decode(tokens)
        count, address = len(tokens), llama.llama_get_logits(self._context)
        found = np.ctypeslib.as_array((ctypes.c_float * (count * self.vocabulary)).from_address(address))
        return found.reshape(count, self.vocabulary).copy()

    def embedding(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (n,), n <= context -> what they are pooled to, as the file says, (width,) f32, not normalised."""
        llama = library()
        llama.llama_set_embeddings(self._context, True)
        self._decode(tokens)
        address, width = llama.llama_get_embeddings_seq(self._context, 0), llama.llama_model_n_embd(self._model)
        assert address, "the file does not say how to pool"
        return np.ctypeslib.as_array((ctypes.c_float * width).from_address(address)).copy()

    def _decode(self, tokens: np.ndarray) -> None:
        llama, count = library(), len(tokens)
        batch = llama.llama_batch_init(count, 0, 1)
        batch.count = count
        for index, token in enumerate(tokens):
            batch.tokens[index], batch.positions[index] = int(token), index
            batch.sequence_counts[index], batch.wanted[index] = 1, 1
            batch.sequences[index][0] = 0
        status = llama.llama_decode(self._context, batch)
        llama.llama_batch_free(batch)
        assert status == 0, f"llama_decode returned {status}"


def _free(llama: ctypes.CDLL, context: int, model: int) -> None:
    llama.llama_free(context)
    llama.llama_model_free(model)
