"""An evaluation, from its request to its figures: opens the models, tokenizes the texts, measures and summarizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.corpus import Reading, read_texts
from quantize_cli.evaluation.evaluated_model import EvaluatedModel, open_evaluated_model, refuse_other_vocabulary
from quantize_cli.evaluation.measure import Reference, Scores, measure
from quantize_cli.evaluation.saved_reference import (
    SavedReference,
    open_saved_reference,
    saving_reference,
    select_chunks,
)
from quantize_cli.evaluation.summary import Comparison, Summary, summarize
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard
from quantize_cli.formats.source import refuse_changed
from quantize_cli.model.source import Model
from quantize_cli.progress import Report
from quantize_cli.tokenizers import Tokenizer, load_tokenizer

_FEW_CHUNKS = 20
"""With fewer, intervals are rough."""


@dataclass(frozen=True)
class EvaluationRequest:
    """The models and texts of an evaluation."""

    models: tuple[Path, ...]
    texts: tuple[Path, ...]
    """May be empty if the reference is a file of predictions, which holds its tokens."""
    context: int | None = None
    """Tokens of a chunk; None for the default, 0 for the context of the models' training."""
    limit: int | None = None
    """Chunks of each text."""
    reference: Path | None = None
    save: Path | None = None
    """Where to save the predictions of the first model."""
    special: bool = False
    """Control tokens in the texts are read as tokens."""
    guard: OverwriteGuard = MAY_OVERWRITE
    """Of `save`."""
    opened: Mapping[Path, Model] = field(default_factory=dict, repr=False)
    """Models that are open already, by path."""
    chunks: np.ndarray | None = field(default=None, repr=False)
    """Tokens of the one text where it has been read already, (chunks, context) i32."""


@dataclass(frozen=True)
class Prepared:
    """A request whose files exist and fit together."""

    request: EvaluationRequest
    subjects: tuple[EvaluatedModel, ...]
    """The models of the request, then the reference if it is another model."""
    chunks: np.ndarray = field(repr=False)
    texts: tuple[tuple[str, int], ...]
    reference: Reference
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ModelResult:
    """A model and its figures."""

    subject: EvaluatedModel
    scores: Scores = field(repr=False)
    overall: Summary
    """On all texts, each of which has the same weight."""
    by_text: tuple[Summary, ...]
    is_reference: bool


@dataclass(frozen=True)
class Evaluation:
    """The figures of all models."""

    texts: tuple[tuple[str, int], ...]
    context: int
    reference_name: str | None
    models: tuple[ModelResult, ...]
    """The models of the request, in order."""


def prepare(request: EvaluationRequest, note: Callable[[str], None]) -> Prepared:
    """Open all files; `note` is called before slow work.

    QuantizeError or FormatError for files that are missing, damaged, or do not fit together.
    """
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"cannot measure {request.limit} chunks, at least 1 is needed")
    saved = None if request.reference is None else open_saved_reference(request.reference)
    if not request.texts and saved is None:
        raise UsageError("missing option '--text'", hint="only a saved reference brings a text of its own")
    if not request.texts and request.special:
        raise UsageError("--special: there is no text to read", hint="a saved reference holds its tokens")
    subjects = [open_evaluated_model(path, request.opened.get(path)) for path in request.models]
    for subject in subjects[1:]:
        refuse_other_vocabulary(subjects[0], subject.path, subject.vocabulary, subject.digest)
    if request.context == 0:
        request = replace(request, context=contexts.chunk_tokens(0, [subject.model for subject in subjects]))
    tokenizer, notices = load_tokenizer(subjects[0].model.metadata), list[str]()
    reading = Reading(request.special, notices.append)
    reference: Reference = None
    if saved is not None:
        reference = select_chunks(saved, subjects[0], tokenizer, request.limit)
        chunks, texts = _of_saved(request, reference, tokenizer, reading)
    else:
        reference = None if request.reference is None else _index_of(request, request.reference, subjects)
        chunks, texts = _of_texts(request, subjects, tokenizer, reading)
    for subject in subjects:
        subject.transformer.prepare(note)
    models = [subject.model for subject in subjects]
    warnings = [warning for model in models for warning in model.warnings]
    warnings += [*contexts.long_context_warnings(chunks.shape[1], models), *notices]
    return Prepared(request, tuple(subjects), chunks, texts, reference, tuple(warnings))


def _index_of(request: EvaluationRequest, path: Path, subjects: list[EvaluatedModel]) -> int:
    """The index of the reference among the models; it is appended if it is not there."""
    for index, subject in enumerate(subjects):
        if subject.path == path:
            return index
    subject = open_evaluated_model(path, request.opened.get(path))
    refuse_other_vocabulary(subjects[0], path, subject.vocabulary, subject.digest)
    subjects.append(subject)
    return len(subjects) - 1


def _of_texts(
    request: EvaluationRequest, subjects: Sequence[EvaluatedModel], tokenizer: Tokenizer, reading: Reading
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """The tokens of the texts, which are read unless the request brings them."""
    if request.chunks is not None:
        return request.chunks, ((str(request.texts[0]), len(request.chunks)),)
    context = contexts.chunk_tokens(request.context, [subject.model for subject in subjects])
    return read_texts(request.texts, tokenizer, context, request.limit, reading)


def _of_saved(
    request: EvaluationRequest, saved: SavedReference, tokenizer: Tokenizer, reading: Reading
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """The tokens of a saved reference; InputError if the texts of the request have others."""
    context = saved.tokens.shape[1]
    if request.context not in (None, context):
        raise InputError(f"{request.reference}: was made with a context of {context} tokens, not {request.context}")
    if not request.texts:
        return saved.tokens, saved.texts
    chunks, texts = read_texts(request.texts, tokenizer, context, request.limit, reading)
    if not np.array_equal(chunks, saved.tokens):
        named = ", ".join(str(path) for path in request.texts)
        raise InputError(
            f"{request.reference}: was made of other tokens than those of {named}",
            hint="it must be read as it was then, with --special or without" if tokenizer.control_ids else None,
        )
    return chunks, texts


def run(prepared: Prepared, advance: Callable[[int], None]) -> Evaluation:
    """Measure what was prepared; `advance` is called with 1 after each chunk."""
    request, chunks = prepared.request, prepared.chunks
    with saving_reference(request.save, prepared.subjects[0], chunks, prepared.texts, request.guard) as save:

        def on_chunk(index: int, logits: np.ndarray, tokens: np.ndarray) -> None:
            save(index, logits, tokens)
            advance(1)

        models = [subject.transformer for subject in prepared.subjects]
        scores = measure(models, chunks, prepared.reference, on_chunk)
        for subject in prepared.subjects:
            refuse_changed(subject.model.files)
    counts = [count for _, count in prepared.texts]
    results = [
        _sum_up(subject, of_model, counts, index == prepared.reference)
        for index, (subject, of_model) in enumerate(zip(prepared.subjects, scores, strict=True))
    ]
    name = None if request.reference is None else str(request.reference)
    return Evaluation(prepared.texts, chunks.shape[1], name, tuple(results[: len(request.models)]))


def _sum_up(subject: EvaluatedModel, scores: Scores, counts: Sequence[int], is_reference: bool) -> ModelResult:
    overall = summarize(scores, counts)
    stops = np.cumsum(counts)
    parts = [scores.of_chunks(int(stop) - count, int(stop)) for stop, count in zip(stops, counts, strict=True)]
    by_text = (overall,) if len(counts) == 1 else tuple(summarize(part, [len(part.nll)]) for part in parts)
    return ModelResult(subject, scores, overall, by_text, is_reference)


def evaluate(request: EvaluationRequest, report: Report) -> Evaluation:
    """Prepare and run; notes and warnings go to `report`."""
    prepared = prepare(request, report.note)
    for warning in prepared.warnings:
        report.warn(warning)
    name = " ".join(path.name for path in request.models)
    with report.progress(len(prepared.chunks), " chunks", name) as advance:
        evaluation = run(prepared, advance)
    comparison = evaluation.models[0].overall.comparison
    if len(evaluation.models) == 1 and comparison is not None and 1 < len(prepared.chunks) < _FEW_CHUNKS:
        report.note(f"intervals from {len(prepared.chunks)} chunks are rough, a longer text makes them better")
    if isinstance(prepared.reference, SavedReference) and comparison is not None:
        _tell_error(comparison, prepared.reference.file.path, report)
    return evaluation


def _tell_error(comparison: Comparison, path: Path, report: Report) -> None:
    """Report how the coding of a saved reference changes the figures."""
    if np.isfinite(comparison.kld_error):
        report.note(f"{path}: its coding changes the mean KLD by at most {comparison.kld_error:.1e}")
    else:
        report.warn(
            f"{path}: cuts probabilities below e**-16 of the largest, so its perplexity is too low and ratios too high"
        )
