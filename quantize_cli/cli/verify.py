"""quantize verify: check what a file claims about how it was made."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from quantize_cli.cli.terminal.claims import claim_lines
from quantize_cli.cli.terminal.options import Json, Texts
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table
from quantize_cli.errors import ExitCode

if TYPE_CHECKING:
    from quantize_cli.certificate.verify import Check


def command(
    file: Annotated[Path, Argument(metavar="FILE", help="A .gguf file with a certificate.")],
    reference: Annotated[
        Path | None,
        Option("--reference", metavar="SRC", help="What FILE is said to be made of."),
    ] = None,
    text: Texts = None,
    json: Json = False,
) -> None:
    """Check the certificate of FILE: its tensors, and with SRC and the texts what it was made of and what that lost."""
    from quantize_cli.certificate.verify import Evidence, Verdict, verify
    from quantize_cli.evaluation.evaluation import evaluate

    watched = report(quiet=json)
    checks = verify(file, Evidence(reference, tuple(text or ()), lambda request: evaluate(request, watched)))
    holds = not any(check.verdict is Verdict.CONTRADICTED for check in checks)
    if json:
        claims = [
            {"claim": check.claim, "stated": check.stated, "verdict": check.verdict.value, "found": check.found or None}
            for check in checks
        ]
        print_json({"path": str(file), "holds": holds, "claims": claims})
    else:
        _print(file, checks, holds)
    if not holds:
        raise Exit(ExitCode.ANSWER_IS_NO)


def _print(file: Path, checks: "Sequence[Check]", holds: bool) -> None:
    from quantize_cli.certificate.verify import Verdict

    print_table(
        ("claim", "stated", "verdict", "found"),
        [(check.claim, claim_lines(check.stated), check.verdict.value, claim_lines(check.found)) for check in checks],
    )
    sys.stdout.flush()  # before the verdict on stderr
    counts = Counter(check.verdict for check in checks)
    summary = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    note(f"{file}: {'holds' if holds else 'does not hold'}: {summary}")
