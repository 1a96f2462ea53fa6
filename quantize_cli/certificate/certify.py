"""A file is made, measured against its source, and given a certificate before it is renamed into place."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quantize_cli import __version__
from quantize_cli.certificate import statement
from quantize_cli.certificate.digest import stored_sha256, weights_sha256
from quantize_cli.certificate.statement import LONGEST_NAME, Calibration, Certificate, Figure, is_readable
from quantize_cli.errors import InputError, not_written
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.corpus import AS_LETTERS, Reading, read_chunks
from quantize_cli.evaluation.evaluation import Evaluation, EvaluationRequest
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard, patch, staging_directory
from quantize_cli.formats.source import open_input, refuse_changed
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan
from quantize_cli.pipeline.plan import Plan
from quantize_cli.pipeline.recipe import Recipe
from quantize_cli.pipeline.recipe_text import format_recipe
from quantize_cli.runtime.hyperparameters import longest_context
from quantize_cli.tokenizers import load_tokenizer

_READ_NBYTES = 1 << 20
_NO_DIGEST, _NO_FIGURE = "0" * 64, Figure(0, 0, 0)

Evaluate = Callable[[EvaluationRequest], Evaluation]
"""Answers a request, and tells whoever watches how far it is."""
Write = Callable[[Mapping[Path, Plan]], object]
"""Makes files by their plans."""


@dataclass(frozen=True)
class CertificateRequest:
    """A certificate that is asked for; `order` makes one."""

    model: Model = field(repr=False)
    """The source, as it is on the disk."""
    text: Path
    chunks: np.ndarray = field(repr=False)
    """Its tokens, (chunks, context) i32."""
    blank: Certificate
    """With all that is known before the file is there; the digests and the figures are zeros."""
    measured: statement.Evaluation
    """Its evaluation."""
    warnings: tuple[str, ...] = ()
    """What a person should know of the text."""


def request_certificate(
    model: Model, text: Path, recipe: Recipe, method: str = "none", calibration: Calibration | None = None
) -> CertificateRequest:
    """A certificate on what `recipe` makes of `model`, measured on `text`.

    A chunk is of 512 tokens, or as many as the model was trained on if they are fewer. InputError, before any work is
    done, for a model that cannot be run, and for a text of less than two chunks.
    """
    warnings: list[str] = []
    chunks = measurable_chunks(model, text, contexts.chunk_tokens(None, [model]), notice=warnings.append)
    measured = statement.Evaluation(
        plain_name(text), file_sha256(text), chunks.shape[1], len(chunks), _NO_FIGURE, _NO_FIGURE, _NO_FIGURE
    )
    blank = Certificate(__version__, format_recipe(recipe), method, _NO_DIGEST, _NO_DIGEST, calibration, measured)
    return CertificateRequest(model, text, chunks, blank, measured, tuple(warnings))


def measurable_chunks(
    model: Model, text: Path, context: int, limit: int | None = None, notice: Callable[[str], None] = AS_LETTERS.notice
) -> np.ndarray:
    """The first `limit` chunks of `text` to measure on, (chunks, context) i32.

    QuantizeError when they cannot be measured: more context than the model was trained on, or too few for intervals.
    """
    trained = longest_context(model)
    if context > trained:
        raise InputError(f"a context of {context} tokens, where the model was trained on {trained}")
    chunks = read_chunks(text, load_tokenizer(model.metadata), context, limit, Reading(notice=notice))
    if len(chunks) < 2:
        raise InputError(f"{text}: {len(chunks)} chunk gives no intervals, a certificate needs 2")
    return chunks


def plain_name(path: Path) -> str:
    """A file's name as a certificate states it, without the directories it lies in."""
    return is_readable(path.name, LONGEST_NAME)


def with_claims(files: Mapping[Path, Plan], claims: Certificate) -> dict[Path, Plan]:
    """The same files, of which the first states the claims. For one order it is laid out alike whatever they are."""
    first = next(iter(files))
    return {**files, first: plan.with_metadata(files[first], claims.metadata())}


def certify(
    files: Mapping[Path, Plan],
    order: CertificateRequest,
    write: Write,
    evaluate: Evaluate,
    guard: OverwriteGuard = MAY_OVERWRITE,
) -> Certificate:
    """Make `files`, which state `order.blank`, with what is found out in its place: whole and certified, or not at all.

    `write` and `evaluate` are given names in a directory that is there only meanwhile. InputError when the file cannot
    be compared with its source.
    """
    source = weights_sha256(order.model.tensors)
    path = next(iter(files))
    try:
        with staging_directory(files, guard) as staged:
            write({staged[path]: planned for path, planned in files.items()})
            first = staged[path]
            written = open_model(first)
            measured = measure(evaluate, (written, order.model), order.text, order.chunks, order.measured)
            claims = replace(order.blank, source=source, tensors=stored_sha256(written.tensors), evaluation=measured)
            patch(first, with_claims(files, claims)[path].layout.header, 0)
            refuse_changed(order.model.files)
    except OSError as error:
        raise not_written(path, error) from error
    return claims


def measure(
    evaluate: Evaluate, models: tuple[Model, Model], text: Path, chunks: np.ndarray, blank: statement.Evaluation
) -> statement.Evaluation:
    """The evaluation `blank` with the figures of a model beside its source; InputError when one of them is no number.

    `chunks` (n, context) i32 are the tokens of `text`.
    """
    path, reference = (model.path for model in models)
    opened = {model.path: model for model in models}
    request = EvaluationRequest((path,), (text,), reference=reference, opened=opened, chunks=chunks)
    (model,) = evaluate(request).models
    comparison = model.overall.comparison
    assert comparison is not None
    return replace(
        blank,
        kld_mean=_figure("mean KL divergence", comparison.kld_mean, path.name),
        perplexity_ratio=_figure("perplexity ratio", comparison.perplexity_ratio, path.name),
        top1=_figure("share of the same top tokens", comparison.top1, path.name),
    )


def _figure(name: str, estimate: Estimate, file: str) -> Figure:
    numbers = np.array([estimate.value, *(estimate.interval or (np.nan, np.nan))])
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    if not np.isfinite(single).all():
        raise InputError(f"{file}: its {name} is {estimate.value:g}, which no certificate can state")
    # Rounding takes the divergence of equal predictions a little below zero.
    return Figure(*(max(0.0, float(str(number))) for number in single))


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(_READ_NBYTES):
            digest.update(block)
    return digest.hexdigest()
