"""A file is measured against its source before it is renamed into place; what was lost is written into it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quantize_cli.certificate.certify import certify, order, stating
from quantize_cli.certificate.statement import Certificate
from quantize_cli.errors import UsageError
from quantize_cli.evaluation.evaluation import evaluated
from quantize_cli.formats.output import Guard
from quantize_cli.pipeline.decided import Planned
from quantize_cli.progress import Report


def ordered(made: Planned, text: Path, report: Report) -> Planned:
    """The plan with room for a certificate on `text`; tells what deserves a warning."""
    if made.output.suffix != ".gguf":
        raise UsageError(f"{made.output}: not called .gguf, so it cannot be measured", hint="--output NAME.gguf")
    asked = order(made.source, text, made.plan.recipe, made.decided.method, made.decided.calibration)
    for warning in asked.warnings:
        report.warn(warning)
    return replace(made, files=stating(made.files, asked.blank), order=asked)


def certified(made: Planned, write: Callable[[Planned], object], guard: Guard, report: Report) -> Certificate:
    """Write the files and certify them, as is asked for; tells what was measured."""
    assert made.order is not None
    claims = certify(
        made.files,
        made.order,
        lambda files: write(replace(made, files=dict(files))),
        lambda request: evaluated(request, report),
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
