"""An evaluation from its request to its figures: models opened and checked, texts cut, everything run and summed up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.corpus import Encoder, Reading, read_texts
from quantize_cli.evaluation.saved import SavedReference, choose, open_saved, saving
from quantize_cli.evaluation.stream import Reference, Scores, measure
from quantize_cli.evaluation.subject import Subject, open_subject, refuse_other_vocabulary
from quantize_cli.evaluation.summary import Comparison, Summary, summarize
from quantize_cli.formats.output import ANY_FILE, Guard
from quantize_cli.formats.source import refuse_changed
from quantize_cli.model.source import Model
from quantize_cli.progress import Report
from quantize_cli.tokenizers import load_tokenizer

_FEW_CHUNKS = 20
"""With fewer, intervals are rough."""


@dataclass(frozen=True)
class Request:
    """What is to be measured, and on what."""

    models: tuple[Path, ...]
    texts: tuple[Path, ...]
    """May be empty where the reference is a file of predictions, which holds its tokens."""
    context: int | None = None
    """Tokens of a chunk; None for the usual number, 0 for what the models were trained on."""
    limit: int | None = None
    """Chunks of each text."""
    reference: Path | None = None
    save: Path | None = None
    """Where to save what the first model predicts."""
    special: bool = False
    """Control tokens in the texts are read as such."""
    guard: Guard = ANY_FILE
    """Of `save`."""
    opened: Mapping[Path, Model] = field(default_factory=dict, repr=False)
    """Models that are open already, by path."""
    chunks: np.ndarray | None = field(default=None, repr=False)
    """Tokens of the one text where it has been read already, (chunks, context) i32."""


@dataclass(frozen=True)
class Prepared:
    """A request whose files are there and fit together."""

    subjects: tuple[Subject, ...]
    """The models asked for, and behind them the reference if it is another one."""
    wanted: int
    """How many were asked for."""
    chunks: np.ndarray = field(repr=False)
    texts: tuple[tuple[str, int], ...]
    reference: Reference
    reference_name: str | None
    save: Path | None
    guard: Guard
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A model and its figures."""

    subject: Subject
    scores: Scores = field(repr=False)
    overall: Summary
    """On all texts, each of which counts as much as the others."""
    by_text: tuple[Summary, ...]
    is_reference: bool


@dataclass(frozen=True)
class Evaluation:
    """All that was found out."""

    texts: tuple[tuple[str, int], ...]
    context: int
    reference_name: str | None
    models: tuple[Measured, ...]
    """Those asked for, in order."""


def prepare(request: Request, note: Callable[[str], None]) -> Prepared:
    """Open everything, telling `note` of what takes long.

    QuantizeError or FormatError for what is missing, damaged, or does not fit together.
    """
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"cannot measure {request.limit} chunks, at least 1 is needed")
    saved = None if request.reference is None else open_saved(request.reference)
    if not request.texts and saved is None:
        raise UsageError("missing option '--text'", hint="only a saved reference brings a text of its own")
    if not request.texts and request.special:
        raise UsageError("--special: there is no text to read", hint="a saved reference holds its tokens")
    subjects = [open_subject(path, request.opened.get(path)) for path in request.models]
    for subject in subjects[1:]:
        refuse_other_vocabulary(subjects[0], subject)
    if request.context == 0:
        request = replace(request, context=contexts.chosen(0, [subject.model for subject in subjects]))
    tokenizer, found = load_tokenizer(subjects[0].model.metadata), list[str]()
    reading = Reading(request.special, found.append)
    reference: Reference = None
    if saved is not None:
        reference = choose(saved, subjects[0], tokenizer, request.limit)
        chunks, texts = _of_saved(request, reference, tokenizer, reading)
    else:
        reference = None if request.reference is None else _place(request, subjects)
        chunks, texts = _of_texts(request, subjects, tokenizer, reading)
    for subject in subjects:
        subject.transformer.prepare(note)
    models = [subject.model for subject in subjects]
    warnings = [warning for model in models for warning in model.warnings]
    warnings += [*contexts.beyond(chunks.shape[1], models), *found]
    name = None if request.reference is None else str(request.reference)
    return Prepared(
        tuple(subjects), len(request.models), chunks, texts, reference, name, request.save,
        request.guard, tuple(warnings),
    )  # fmt: skip


def _place(request: Request, subjects: list[Subject]) -> int:
    """Where the reference stands among the models; added behind them if it is not there."""
    path = request.reference
    assert path is not None
    for place, subject in enumerate(subjects):
        if subject.path == path:
            return place
    subjects.append(open_subject(path, request.opened.get(path)))
    refuse_other_vocabulary(subjects[0], subjects[-1])
    return len(subjects) - 1


def _of_texts(
    request: Request, subjects: Sequence[Subject], tokenizer: Encoder, reading: Reading
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """The tokens of the texts, which are read unless the request brings them."""
    if request.chunks is not None:
        return request.chunks, ((str(request.texts[0]), len(request.chunks)),)
    context = contexts.chosen(request.context, [subject.model for subject in subjects])
    return read_texts(request.texts, tokenizer, context, request.limit, reading)


def _of_saved(
    request: Request, saved: SavedReference, tokenizer: Encoder, reading: Reading
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """The tokens of a saved reference, which those of the texts must be if any are named."""
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
            hint="it must be read as it was then, with --special or without" if tokenizer.silent else None,
        )
    return chunks, texts


def run(prepared: Prepared, advance: Callable[[int], None]) -> Evaluation:
    """Measure what was prepared; `advance` is told of each chunk done."""
    with saving(prepared.save, prepared.subjects[0], prepared.chunks, prepared.texts, prepared.guard) as save:

        def on_chunk(index: int, logits: np.ndarray, tokens: np.ndarray) -> None:
            save(index, logits, tokens)
            advance(1)

        models = [subject.transformer for subject in prepared.subjects]
        scores = measure(models, prepared.chunks, prepared.reference, on_chunk)
        for subject in prepared.subjects:
            refuse_changed(subject.model.files)
    counts = [count for _, count in prepared.texts]
    found = [
        _sum_up(subject, of_model, counts, place == prepared.reference)
        for place, (subject, of_model) in enumerate(zip(prepared.subjects, scores, strict=True))
    ]
    context = prepared.chunks.shape[1]
    return Evaluation(prepared.texts, context, prepared.reference_name, tuple(found[: prepared.wanted]))


def _sum_up(subject: Subject, scores: Scores, counts: Sequence[int], is_reference: bool) -> Measured:
    overall = summarize(scores, counts)
    stops = np.cumsum(counts)
    parts = [scores.of_chunks(int(stop) - count, int(stop)) for stop, count in zip(stops, counts, strict=True)]
    by_text = (overall,) if len(counts) == 1 else tuple(summarize(part, [len(part.surprise)]) for part in parts)
    return Measured(subject, scores, overall, by_text, is_reference)


def evaluated(request: Request, report: Report) -> Evaluation:
    """The request's answer; tells what of it deserves less trust than the rest."""
    prepared = prepare(request, report.note)
    for warning in prepared.warnings:
        report.warn(warning)
    name = " ".join(path.name for path in request.models)
    with report.progress(len(prepared.chunks), " chunks", name) as advance:
        found = run(prepared, advance)
    comparison = found.models[0].overall.comparison
    if len(found.models) == 1 and comparison is not None and 1 < len(prepared.chunks) < _FEW_CHUNKS:
        report.note(f"intervals from {len(prepared.chunks)} chunks are rough, a longer text makes them better")
    if isinstance(prepared.reference, SavedReference) and comparison is not None:
        _tell_error(comparison, prepared.reference.file.path, report)
    return found


def _tell_error(comparison: Comparison, path: Path, report: Report) -> None:
    """What the coding of a saved reference does to the figures."""
    if np.isfinite(comparison.kld_error):
        report.note(f"{path}: its coding changes the mean KLD by at most {comparison.kld_error:.1e}")
    else:
        report.warn(
            f"{path}: cuts probabilities below e**-16 of the largest, so its perplexity is too low and ratios too high"
        )
