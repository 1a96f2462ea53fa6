"""What `convert --certify` does besides converting: measure the file against its source, and put that into it."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quantize_cli.certificate.certify import Order, certify, order, stating
from quantize_cli.certificate.statement import Certificate
from quantize_cli.cli._request import Planned
from quantize_cli.cli.terminal.measured import evaluated
from quantize_cli.cli.terminal.text import note
from quantize_cli.errors import UsageError
from quantize_cli.formats.output import Guard
from quantize_cli.model.source import open_model


def ordered(made: Planned, source: Path, text: Path) -> tuple[Planned, Order]:
    """The plan with room for a certificate, and the certificate wanted."""
    if made.output.suffix != ".gguf":
        raise UsageError(f"{made.output}: not called .gguf, so it cannot be measured", hint="--output NAME.gguf")
    wanted = order(open_model(source), text, made.plan.recipe, made.known.method, made.known.calibration)
    return replace(made, files=stating(made.files, wanted.blank)), wanted


def certified(made: Planned, wanted: Order, write: Callable[[Planned], float], guard: Guard, quiet: bool) -> float:
    """Write the files and certify them, and say what was measured; the seconds it took."""
    start = time.monotonic()
    claims = certify(
        made.files,
        wanted,
        lambda files: write(replace(made, files=dict(files))),
        lambda request: evaluated(request, quiet),
        guard,
    )
    if not quiet:
        _report(claims)
    return time.monotonic() - start


def _report(claims: Certificate) -> None:
    measured = claims.evaluation
    assert measured is not None
    kld, ratio, top1 = measured.kld_mean, measured.perplexity_ratio, measured.top1
    note(
        f"certified: mean KLD {kld.value:.5f} ({kld.low:.5f} to {kld.high:.5f}), "
        f"perplexity ratio {ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f}), "
        f"same top token {top1.value:.2%} ({top1.low:.2%} to {top1.high:.2%}), "
        f"on {measured.chunks} chunks of {measured.context} of {measured.name}"
    )
