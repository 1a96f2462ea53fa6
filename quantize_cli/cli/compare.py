"""quantize compare: several models side by side."""

from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from quantize_cli.cli.terminal.options import Chunks, Context, Force, HtmlFile, Json, ReferencePath, Special, Texts


def command(
    models: Annotated[list[Path], typer.Argument(metavar="A B [C ...]", help="Models: .gguf files or checkpoints.")],
    text: Texts = None,
    ctx: Context = None,
    chunks: Chunks = None,
    special: Special = False,
    reference: ReferencePath = None,
    html: HtmlFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure size, perplexity, divergence, speed and memory of models on the same texts, in turns.

    The others are compared with the first, unless --reference names another.
    """
    from quantize_cli.cli.terminal.measured import print_texts, write_report
    from quantize_cli.cli.terminal.progress import report
    from quantize_cli.cli.terminal.text import note, print_table
    from quantize_cli.evaluation.evaluation import Request, evaluated
    from quantize_cli.pipeline.outputs import Outputs

    _refuse_nonsense(models)
    outputs = Outputs((*models, *(text or ()), reference), force, note)
    outputs.refuse_bad((html,))
    outputs.sweep((html,))
    request = Request(tuple(models), tuple(text or ()), ctx, chunks, reference or models[0], special=special)
    found = evaluated(request, report(quiet=json))
    peaks = _peaks(models, found, quiet=json)
    rows = [_row(model, peak) for model, peak in zip(found.models, peaks, strict=True)]
    if html is not None:
        from quantize_cli.report import evaluation_page

        columns = [evaluation_page.Column(heading, [row[heading] for row in rows]) for heading in rows[0]]
        write_report(
            html, evaluation_page.document(f"quantize compare: {len(models)} models", found, columns), outputs.guard
        )
    if json:
        _print_json(found, peaks)
    else:
        headings = tuple(rows[0])
        print_table(headings, [tuple(row.values()) for row in rows], frozenset(headings[1:]))
        print_texts(found)


def _refuse_nonsense(models: list[Path]) -> None:
    from quantize_cli.errors import UsageError

    if len(models) < 2:
        raise UsageError("there is only one model, at least 2 are compared", hint="quantize eval measures one alone")
    twice = next((path for place, path in enumerate(models) if path in models[:place]), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice")


def _peaks(models: list[Path], found: Any, quiet: bool) -> list[int | None]:
    """Of each model, in a process of its own."""
    import numpy as np

    from quantize_cli.cli.terminal.progress import progress
    from quantize_cli.evaluation.memory import peak_nbytes

    chunk = np.zeros((1, found.context), np.int32)
    peaks = []
    with progress(len(models), " models", "memory", quiet) as advance:
        for path in models:
            peaks.append(peak_nbytes(path, chunk))
            advance(1)
    return peaks


def _row(model: Any, peak: int | None) -> dict[str, str]:
    """A model as a row of the table, by heading."""
    from quantize_cli.cli.terminal.measured import share
    from quantize_cli.cli.terminal.text import size

    subject, found = model.subject, model.overall.comparison
    compared = ("1", "", "") if model.is_reference else ("", "", "")
    if found is not None:
        compared = (
            f"{found.perplexity_ratio.value:.4f}", f"{found.kld_mean.value:.5f}", share(found.top1.value),
        )  # fmt: skip
    return {
        "model": str(subject.path), "size": size(subject.nbytes), "bits": f"{subject.bits_per_weight:.2f}",
        "perplexity": f"{model.overall.perplexity.value:.4f}", "ratio": compared[0], "mean KLD": compared[1],
        "same top": compared[2], "tokens/s": f"{median(model.scores.tokens_per_second):.0f}",
        "memory": "" if peak is None else size(peak),
    }  # fmt: skip


def _print_json(found: Any, peaks: list[int | None]) -> None:
    from quantize_cli.cli.terminal.measured import estimates_json, perplexity_json
    from quantize_cli.cli.terminal.text import print_json

    names = [name for name, _ in found.texts]
    print_json({
        "reference": found.reference_name, "ctx": found.context,
        "models": [
            {
                "model": str(model.subject.path), "nbytes": model.subject.nbytes,
                "bits_per_weight": model.subject.bits_per_weight, "types": model.subject.types,
                **perplexity_json(model.overall), **estimates_json(model.overall),
                "tokens_per_second": median(model.scores.tokens_per_second), "peak_nbytes": peak,
                "texts": [
                    {"text": name, **perplexity_json(summary), **estimates_json(summary)}
                    for name, summary in zip(names, model.by_text, strict=True)
                ],
            }
            for model, peak in zip(found.models, peaks, strict=True)
        ],
    })  # fmt: skip
