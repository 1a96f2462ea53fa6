"""A calibration from its request to its file: the model and its texts opened, run, and saved every so many chunks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantize_cli.calibration.statistics.collector import Collector, Shapes, fingerprint, shapes_of
from quantize_cli.calibration.statistics.coverage import coverage_warnings
from quantize_cli.calibration.statistics.merge import FileToMerge, file_name, fit_shapes, merged, open_to_merge
from quantize_cli.errors import InputError, UsageError, not_written
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.corpus import Reading, read_texts
from quantize_cli.evaluation.evaluated_model import EvaluatedModel, open_evaluated_model
from quantize_cli.formats.imatrix import ImportanceFile, imatrix_bytes, read_imatrix
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard, atomic_file
from quantize_cli.formats.reference import MIN_CONTEXT
from quantize_cli.formats.source import refuse_changed
from quantize_cli.tokenizers import load_tokenizer

_LONGEST_CONTEXT = (1 << 31) - 1
"""The largest number that an imatrix holds."""


@dataclass(frozen=True)
class CollectionRequest:
    """What is to be collected, and where to."""

    model: Path
    texts: tuple[Path, ...]
    """May be empty where files are merged."""
    output: Path
    context: int | None = None
    limit: int | None = None
    """Chunks of each text."""
    process_output: bool = False
    resume: bool = False
    merge: tuple[Path, ...] = ()
    save_every: int = 32
    """Chunks."""
    special: bool = False
    """Control tokens in the texts are read as such."""
    guard: OverwriteGuard = MAY_OVERWRITE
    """Of `output`."""


@dataclass(frozen=True)
class PreparedCollection:
    """A request whose files are there and fit together."""

    request: CollectionRequest
    subject: EvaluatedModel
    shapes: Shapes
    chunks: np.ndarray = field(repr=False)
    """(chunks, context) of tokens."""
    begun: ImportanceFile | None
    """What an earlier run collected of the first of these chunks."""
    others: tuple[FileToMerge, ...]
    model_digest: str
    warnings: tuple[str, ...]

    @property
    def done(self) -> int:
        """Chunks that need not be run."""
        return 0 if self.begun is None else self.begun.chunks


def prepare(request: CollectionRequest, note: Callable[[str], None]) -> PreparedCollection:
    """Open everything; `note` is called before slow work.

    QuantizeError or FormatError for what is missing, damaged, or does not fit together.
    """
    if not request.texts and not request.merge:
        raise UsageError("missing option '--text'", hint="only files to --merge go without")
    if request.special and not request.texts:
        raise UsageError("--special: there is no text to read", hint="--text FILE")
    begun = read_imatrix(request.output) if request.resume and request.output.exists() else None
    subject = open_evaluated_model(request.model)
    shapes = shapes_of(subject.transformer, request.process_output)
    asked = request.context if request.context is not None or begun is None else begun.context or None
    context = _context(asked, subject)
    others = tuple(open_to_merge(path, shapes, asked or contexts.DEFAULT_CONTEXT) for path in request.merge)
    chunks, notices = np.empty((0, context), np.int32), list[str]()
    if request.texts:
        reading = Reading(request.special, notices.append)
        tokenizer = load_tokenizer(subject.model.metadata)
        chunks, _ = read_texts(request.texts, tokenizer, context, request.limit, reading)
        notices += contexts.long_context_warnings(context, [subject.model])
        notices += coverage_warnings(
            chunks, {name: columns for name, (_, columns) in shapes.items()}, subject.vocabulary
        )
        subject.transformer.prepare(note)
    digest = fingerprint(subject)
    if begun is not None:
        _refuse_to_resume(request, begun, digest, chunks)
        begun = replace(begun, entries=fit_shapes(request.output, begun, shapes))
    warnings = (*_warnings(request, subject, others), *notices)
    return PreparedCollection(request, subject, shapes, chunks, begun, others, digest, warnings)


def _context(asked: int | None, subject: EvaluatedModel) -> int:
    """Tokens of a chunk; UsageError when they are too few or too many."""
    context = contexts.chunk_tokens(asked, [subject.model])
    if context < MIN_CONTEXT:
        raise UsageError(f"a context of {context} tokens is too short, at least {MIN_CONTEXT} are needed")
    if context > _LONGEST_CONTEXT:
        raise UsageError(f"a context of {context} tokens is too long, at most {_LONGEST_CONTEXT} are possible")
    return context


def _refuse_to_resume(request: CollectionRequest, begun: ImportanceFile, model: str, chunks: np.ndarray) -> None:
    """InputError when the chunks in the file are not, or may not be, the first of those to be run."""
    path, count, context = request.output, len(chunks), chunks.shape[1]
    if not begun.tokens or any(entry.sums is None for entry in begun.entries.values()):
        raise InputError(
            f"{path}: does not say which chunks are in it, so it cannot be resumed",
            hint=f"--merge {path} adds it to another",
        )
    if begun.model != model:
        raise InputError(f"{path}: was made of another model than {request.model}")
    if begun.context != context:
        raise InputError(f"{path}: was made with a context of {begun.context} tokens, not {context}")
    if begun.chunks > count:
        raise InputError(f"{path}: has {begun.chunks} chunks in it, only {count} are wanted")
    if begun.tokens != _digest(chunks[: begun.chunks]):
        named = ", ".join(str(text) for text in request.texts)
        raise InputError(f"{path}: was made of other tokens than those of {named}", hint="--force starts again")


def _digest(chunks: np.ndarray) -> str:
    return hashlib.sha256(chunks.astype("<i4").tobytes()).hexdigest()


def _warnings(request: CollectionRequest, subject: EvaluatedModel, others: tuple[FileToMerge, ...]) -> tuple[str, ...]:
    warnings = list(subject.model.warnings)
    if request.process_output and subject.transformer.output.matrix is subject.transformer.embedding:
        warnings.append(
            f"{request.model}: its output is the token embedding, of which nothing is collected, as by llama-imatrix"
        )
    warnings += [
        f"{other.path}: has no means of activations, so the sum has none"
        for other in others
        if any(entry.sums is None for entry in other.entries.values())
    ]
    return tuple(warnings)


def run(prepared: PreparedCollection, advance: Callable[[int], None]) -> ImportanceFile:
    """Collect what was prepared and write it, at the end and now and then before; `advance` is called after each chunk.

    What is written before the end lacks the files to be merged, so that it can be resumed with them.
    """
    begun, request = prepared.begun, prepared.request
    collector = Collector(
        request.model, prepared.subject.transformer, prepared.shapes, None if begun is None else begun.entries
    )
    total, guard = len(prepared.chunks), request.guard
    for index in range(prepared.done, total):
        collector.run(index + 1, prepared.chunks[index])
        if (index + 1) % request.save_every == 0 and index + 1 < total:
            guard = _save(request.output, _collected(prepared, collector, index + 1), guard)
        advance(1)
    file = _collected(prepared, collector, total)
    if prepared.others:
        file = merged(file, prepared.others)
    refuse_changed(prepared.subject.model.files)
    _save(request.output, file, guard)
    return file


def _collected(prepared: PreparedCollection, collector: Collector, count: int) -> ImportanceFile:
    """What is known after `count` chunks."""
    chunks = prepared.chunks
    return ImportanceFile(
        collector.entries(), tuple(file_name(str(text)) for text in prepared.request.texts), count, chunks.shape[1],
        prepared.model_digest, _digest(chunks[:count]),
    )  # fmt: skip


def _save(path: Path, file: ImportanceFile, guard: OverwriteGuard) -> OverwriteGuard:
    """Write the file; gives the guard under which it is written again."""
    data = imatrix_bytes(file)
    try:
        with atomic_file(path, len(data), guard) as output:
            output.write(data, 0)
            return replace(guard, own=output.file)
    except OSError as error:
        raise not_written(path, error) from error
