"""Base model predictions as llama-perplexity saves them with --kl-divergence-base (tools/perplexity/perplexity.cpp).

    header   8s "_logits_", u32 context, i32 vocabulary, i32 chunks, i32 tokens (chunks, context), without the BOS
             token of each chunk
    row      f32 step, f32 low, u16 code[vocabulary], one more if that is odd: ln p = low + code * step; one row for
             each position from context // 2 on, without the last

A token less than e**-16 times as likely as the top token has code 0, whatever its probability. So the error of what is
computed from the file has no bound, and a perplexity comes out too low where such a token was observed.
"""

import struct
from pathlib import Path

import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.reference import MAX_VOCABULARY, MIN_CONTEXT, PredictionFile, Predictions, ReferenceHeader
from quantize_cli.formats.source import open_input, size_of

MAGIC = b"_logits_"
_FIXED = struct.Struct("<8sIii")
_IGNORED = np.float32(-16)
"""llama-perplexity does not sum tokens whose ln p is no larger."""
_NOTHING = np.float32(-1e4)
"""Replaces their ln p: finite, so that its product with a probability of zero is zero."""


class LlamaLogits(PredictionFile):
    """A file of llama-perplexity."""

    def rows(self, chunk: int) -> Predictions:
        """The predictions of a chunk, as llama-perplexity reads them; FormatError when they are not numbers."""
        vocabulary = self.header.vocabulary
        type_ = _row_type(vocabulary)
        stored = np.frombuffer(self.chunk_bytes(chunk, self.header.scored * type_.itemsize), type_)
        low, step = stored["low"][:, None], stored["step"][:, None]
        if not (np.isfinite(low).all() and np.isfinite(step).all() and (step >= 0).all() and (low <= 0).all()):
            raise FormatError(f"{self.path}: chunk {chunk} holds a scale that is negative or not finite")
        if (low.astype(np.float64) + 65536 * step.astype(np.float64)).max() > 1:
            raise FormatError(f"{self.path}: chunk {chunk} holds probabilities above one")
        logits = low + step * stored["code"][:, :vocabulary].astype(np.float32)
        observed = self.header.tokens[chunk, self.header.context // 2 + 1 :]
        nll = -np.take_along_axis(logits, observed[:, None], axis=1)[:, 0].astype(np.float64)
        logits[logits <= _IGNORED] = _NOTHING
        return Predictions(logits, True, nll)


def _row_type(vocabulary: int) -> np.dtype:
    return np.dtype([("step", "<f4"), ("low", "<f4"), ("code", "<u2", (vocabulary + vocabulary % 2,))])


def read_llama_logits(path: Path) -> LlamaLogits:
    """The predictions at `path`; FormatError when the counts do not match the file."""
    with open_input(path) as file:
        size = size_of(file)
        head = file.read(_FIXED.size)
        if len(head) != _FIXED.size or head[:8] != MAGIC:
            raise FormatError(f"{path}: not a file of llama-perplexity's --kl-divergence-base")
        _, context, vocabulary, chunks = _FIXED.unpack(head)
        if context < MIN_CONTEXT or not 2 <= vocabulary <= MAX_VOCABULARY or chunks < 1:
            raise FormatError(
                f"{path}: a context of {context}, a vocabulary of {vocabulary} and {chunks} chunks make no reference"
            )
        start = _FIXED.size + 4 * chunks * context
        end = start + chunks * (context - context // 2 - 1) * _row_type(vocabulary).itemsize
        if end != size:
            raise FormatError(f"{path}: {chunks} chunks of {context} tokens end at byte {end}, the file at {size}")
        tokens = np.frombuffer(file.read(4 * chunks * context), "<i4").reshape(chunks, context)
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise FormatError(f"{path}: holds a token outside of a vocabulary of {vocabulary}")
    return LlamaLogits(path, ReferenceHeader(path.name, vocabulary, b"", ((path.name, chunks),), tokens), start)
