"""A file is measured against its source before it is renamed into place; what was lost is written into it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quantize_cli.certificate.certify import certify, request_certificate, with_claims
from quantize_cli.certificate.statement import Certificate
from quantize_cli.errors import UsageError
from quantize_cli.evaluation.evaluation import evaluate
from quantize_cli.formats.output import OverwriteGuard
from quantize_cli.pipeline.decided import PlannedConversion
from quantize_cli.progress import Report


def with_certificate_request(planned: PlannedConversion, text: Path, report: Report) -> PlannedConversion:
    """The plan with room for a certificate on `text`; tells what deserves a warning."""
    if planned.output.suffix != ".gguf":
        raise UsageError(f"{planned.output}: not called .gguf, so it cannot be measured", hint="--output NAME.gguf")
    decided = planned.decided
    request = request_certificate(planned.source, text, planned.plan.recipe, decided.method, decided.calibration)
    request = replace(request, blank=replace(request.blank, training=decided.training))
    for warning in request.warnings:
        report.warn(warning)
    return replace(planned, files=with_claims(planned.files, request.blank), order=request)


def write_certified(
    planned: PlannedConversion, write: Callable[[PlannedConversion], object], guard: OverwriteGuard, report: Report
) -> Certificate:
    """Write the files and certify them, as is asked for; tells what was measured."""
    assert planned.order is not None
    claims = certify(
        planned.files,
        planned.order,
        lambda files: write(replace(planned, files=dict(files))),
        lambda request: evaluate(request, report),
        guard,
    )
    _tell(claims, report)
    return claims


def _tell(claims: Certificate, report: Report) -> None:
    measured = claims.evaluation
    assert measured is not None
    kld, ratio, top1 = measured.kld_mean, measured.perplexity_ratio, measured.top1
    report.note(
        f"certified: mean KLD {kld.value:.5f} ({kld.low:.5f} to {kld.high:.5f}), "
        f"perplexity ratio {ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f}), "
        f"same top token {top1.value:.2%} ({top1.low:.2%} to {top1.high:.2%}), "
        f"on {measured.chunks} chunks of {measured.context} of {measured.name}"
    )
