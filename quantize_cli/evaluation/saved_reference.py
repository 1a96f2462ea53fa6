"""Predictions in a file: opens them, checks them against the model, selects chunks, and saves new ones."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, OutputError, not_written
from quantize_cli.evaluation.evaluated_model import EvaluatedModel, refuse_other_vocabulary
from quantize_cli.evaluation.measure import OnChunk
from quantize_cli.formats import llama_logits, reference
from quantize_cli.formats.llama_logits import LlamaLogits, read_llama_logits
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard, atomic_file
from quantize_cli.formats.reference import Predictions, ReferenceFile, ReferenceHeader, read_reference
from quantize_cli.formats.source import open_input
from quantize_cli.tokenizers import Tokenizer

_Reader = Callable[[Path], ReferenceFile | LlamaLogits]
_READERS: dict[bytes, _Reader] = {reference.MAGIC: read_reference, llama_logits.MAGIC: read_llama_logits}


@dataclass(frozen=True)
class SavedReference:
    """Selected chunks of a file of predictions."""

    file: ReferenceFile | LlamaLogits
    chunk_numbers: np.ndarray
    """Their numbers in the file, in order."""
    tokens: np.ndarray
    """(chunks, context) i32, as the model read them."""
    texts: tuple[tuple[str, int], ...]

    def rows(self, chunk: int) -> Predictions:
        return self.file.rows(int(self.chunk_numbers[chunk]))


def open_saved_reference(path: Path) -> ReferenceFile | LlamaLogits | None:
    """The file of predictions at `path`, of either format; None for any other file, which may be a model."""
    if path.is_dir():
        return None
    with open_input(path) as file:
        magic = file.read(8)
    return _READERS[magic](path) if magic in _READERS else None


def select_chunks(
    file: ReferenceFile | LlamaLogits, subject: EvaluatedModel, tokenizer: Tokenizer, limit: int | None
) -> SavedReference:
    """The first `limit` chunks of each text; InputError when the model has another vocabulary."""
    header = file.header
    refuse_other_vocabulary(subject, file.path, header.vocabulary, header.digest)
    texts = tuple((name, count if limit is None else min(count, limit)) for name, count in header.texts)
    starts = np.cumsum([0, *(count for _, count in header.texts)])
    chunk_numbers = np.concatenate([start + np.arange(count) for start, (_, count) in zip(starts, texts, strict=False)])
    tokens = header.tokens[chunk_numbers]
    if isinstance(file, LlamaLogits) and tokenizer.adds_bos and tokenizer.bos_id is not None:
        tokens = tokens.copy()
        tokens[:, 0] = tokenizer.bos_id
    return SavedReference(file, chunk_numbers, tokens, texts)


@contextmanager
def saving_reference(
    path: Path | None,
    subject: EvaluatedModel,
    chunks: np.ndarray,
    texts: Sequence[tuple[str, int]],
    guard: OverwriteGuard = MAY_OVERWRITE,
) -> Iterator[OnChunk]:
    """A function to call with each chunk's logits; `path` appears when the block succeeds. Does nothing for None."""
    if path is None:
        yield lambda index, logits, tokens: None
        return
    header = ReferenceHeader(str(subject.path), subject.vocabulary, subject.digest, tuple(texts), chunks)
    start, step = reference.encode_header(header), reference.chunk_nbytes(header)
    nbytes = len(start) + len(chunks) * step
    try:
        free = shutil.disk_usage(path.parent).free
        if free < nbytes:  # before the work, not after it
            raise OutputError(f"{path}: needs {nbytes} bytes, its disk has {free} free")
        with atomic_file(path, nbytes, guard) as output:
            output.write(start, 0)

            def save(index: int, logits: np.ndarray, tokens: np.ndarray) -> None:
                if not np.isfinite(logits).all():
                    raise InputError(f"{subject.path}: its predictions are not finite, which makes no reference")
                output.write(reference.encode_chunk(logits, tokens), len(start) + index * step)

            yield save
    except OSError as error:
        raise not_written(path, error) from error
