"""quantize compare: several models side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from quantize_cli.cli.terminal.options import Chunks, Context, Force, HtmlFile, Json, ReferencePath, Special, Texts
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import print_json, size
from quantize_cli.errors import UsageError

if TYPE_CHECKING:
    from quantize_cli.evaluation.evaluation import Evaluation, ModelResult


def command(
    models: Annotated[list[Path], Argument(metavar="A B [C ...]", help="Models: .gguf files or checkpoints.")],
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
    from quantize_cli import api
    from quantize_cli.cli.terminal.measured import columns_of, outputs_for, print_rows, print_texts, write_report
    from quantize_cli.evaluation.memory import peaks

    _refuse_nonsense(models)
    outputs = outputs_for((*models, *(text or ()), reference), (html,), force)
    watched = report(quiet=json)
    evaluation = api.compare(
        models, text or (), reference=reference, context=ctx, chunks=chunks, special=special, report=watched
    )
    memory = peaks(models, evaluation.context, watched)
    rows = [_row(model, peak) for model, peak in zip(evaluation.models, memory, strict=True)]
    if html is not None:
        from quantize_cli.report import evaluation_page

        page = evaluation_page.document(f"quantize compare: {len(models)} models", evaluation, columns_of(rows))
        write_report(html, page, outputs.guard)
    if json:
        _print_json(evaluation, memory)
    else:
        print_rows(rows)
        print_texts(evaluation)


def _refuse_nonsense(models: list[Path]) -> None:
    if len(models) < 2:
        raise UsageError("there is only one model, at least 2 are compared", hint="quantize eval measures one alone")
    twice = next((path for i, path in enumerate(models) if path in models[:i]), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice")


def _row(model: "ModelResult", peak: int | None) -> dict[str, str]:
    """A model as a row of the table, by heading."""
    from statistics import median

    from quantize_cli.cli.terminal.measured import compared_cells

    subject = model.subject
    ratio, divergence, top = ("1", "", "") if model.is_reference else compared_cells(model.overall.comparison)
    return {
        "model": str(subject.path), "size": size(subject.nbytes), "bits": f"{subject.bits_per_weight:.2f}",
        "perplexity": f"{model.overall.perplexity.value:.4f}", "ratio": ratio, "mean KLD": divergence,
        "same top": top, "tokens/s": f"{median(model.scores.tokens_per_second):.0f}",
        "memory": "" if peak is None else size(peak),
    }  # fmt: skip


def _print_json(evaluation: "Evaluation", memory: list[int | None]) -> None:
    from statistics import median

    from quantize_cli.cli.terminal.measured import summary_json, texts_json

    print_json({
        "reference": evaluation.reference_name, "ctx": evaluation.context,
        "models": [
            {
                "model": str(model.subject.path), "nbytes": model.subject.nbytes,
                "bits_per_weight": model.subject.bits_per_weight, "types": model.subject.types,
                **summary_json(model.overall), "tokens_per_second": median(model.scores.tokens_per_second),
                "peak_nbytes": peak, "texts": texts_json(evaluation, model),
            }
            for model, peak in zip(evaluation.models, memory, strict=True)
        ],
    })  # fmt: skip
