"""quantize eval: how well a model predicts a text, and what it lost against another."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from quantize_cli.cli.terminal.options import (
    Chunks,
    Context,
    Force,
    HtmlFile,
    Json,
    ModelPath,
    ReferencePath,
    Special,
    Texts,
)
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table, size, warn
from quantize_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from quantize_cli.evaluation.evaluation import Evaluation
    from quantize_cli.evaluation.gate import Gate, Outcome
    from quantize_cli.evaluation.summary import Comparison
    from quantize_cli.formats.output import OverwriteGuard


def command(
    model: ModelPath,
    text: Texts = None,
    ctx: Context = None,
    chunks: Chunks = None,
    special: Special = False,
    reference: ReferencePath = None,
    save_reference: Annotated[
        Path | None,
        Option("--save-reference", metavar="FILE", help="Save what MODEL predicts, to compare others with."),
    ] = None,
    max_ppl_increase: Annotated[
        str | None, Option("--max-ppl-increase", metavar="SHARE", help="Fail if perplexity grows by more: 2%.")
    ] = None,
    max_kld: Annotated[
        str | None, Option("--max-kld", metavar="KLD", help="Fail if the mean KL divergence is larger: 0.03.")
    ] = None,
    min_top1: Annotated[
        str | None, Option("--min-top1", metavar="SHARE", help="Fail if the top tokens agree less often: 0.9.")
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="Fail too if the interval of a limit crosses it, or there is none.")
    ] = False,
    junit: Annotated[
        Path | None,
        Option("--junit", metavar="FILE", help="Write the limits as JUnit's XML."),
    ] = None,
    html: HtmlFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure the perplexity of MODEL on texts, by llama.cpp's protocol, and its divergence from a reference."""
    from quantize_cli.cli.terminal.measured import outputs_for
    from quantize_cli.evaluation.evaluation import EvaluationRequest, evaluate
    from quantize_cli.evaluation.gate import is_passed, judge, parse_gates

    limits = parse_gates(max_ppl_increase, max_kld, min_top1)
    _refuse_nonsense(model, reference, limits, strict)
    for doubt in (gate.doubt for gate in limits if gate.doubt):
        warn(doubt)
    texts = tuple(text or ())
    outputs = outputs_for((model, *texts, reference), (save_reference, junit, html), force)
    start = time.monotonic()
    request = EvaluationRequest((model,), texts, ctx, chunks, reference, save_reference, special, outputs.guard)
    evaluation = evaluate(request, report(quiet=json))
    outcomes = judge(limits, evaluation, strict)
    passed = is_passed(outcomes, strict)
    if junit is not None:
        _write_junit(junit, evaluation, outcomes, strict, time.monotonic() - start, outputs.guard)
    if html is not None:
        _write_page(html, evaluation, outcomes, outputs.guard)
    if json:
        _print_json(evaluation, outcomes, passed)
    else:
        _print(evaluation)
    sys.stdout.flush()  # before the verdicts on stderr
    _tell_verdicts(outcomes, strict, quiet=json)
    if not passed:
        raise Exit(ExitCode.ANSWER_IS_NO)


def _refuse_nonsense(model: Path, reference: Path | None, limits: "Sequence[Gate]", strict: bool) -> None:
    if limits and reference is None:
        raise UsageError(f"{limits[0].option} needs something to compare with", hint="--reference MODEL")
    if strict and not limits:
        raise UsageError("--strict needs a limit", hint="--max-ppl-increase, --max-kld or --min-top1")
    if reference is not None and (reference == model or _are_one(reference, model)):
        raise UsageError(f"--reference {reference} is the model itself")


def _are_one(path: Path, other: Path) -> bool:
    """Whether both names lead to the same file, which is as good as any by itself."""
    return path.exists() and other.exists() and path.samefile(other)


def _write_junit(
    path: Path,
    evaluation: "Evaluation",
    outcomes: "Sequence[Outcome]",
    strict: bool,
    seconds: float,
    guard: "OverwriteGuard",
) -> None:
    from quantize_cli.cli.terminal.measured import write_report
    from quantize_cli.report.junit import document

    names = [name for name, _ in evaluation.texts]
    write_report(path, document(str(evaluation.models[0].subject.path), names, outcomes, strict, seconds), guard)


def _write_page(path: Path, evaluation: "Evaluation", outcomes: "Sequence[Outcome]", guard: "OverwriteGuard") -> None:
    from quantize_cli.cli.terminal.measured import columns_of, plus_minus, write_report
    from quantize_cli.report import evaluation_page

    (model,) = evaluation.models
    row = {
        "model": str(model.subject.path), "size": size(model.subject.nbytes),
        "bits per weight": f"{model.subject.bits_per_weight:.4f}", "perplexity": plus_minus(model.overall),
    }  # fmt: skip
    title = f"quantize eval: {model.subject.path.name}"
    write_report(path, evaluation_page.document(title, evaluation, columns_of([row]), outcomes), guard)


def _print_json(evaluation: "Evaluation", outcomes: "Sequence[Outcome]", passed: bool) -> None:
    from quantize_cli.cli.terminal.measured import estimates_json, perplexity_json, texts_json

    (model,) = evaluation.models
    print_json({
        "model": str(model.subject.path), "text": evaluation.texts[0][0] if len(evaluation.texts) == 1 else None,
        "ctx": evaluation.context, **perplexity_json(model.overall), "reference": evaluation.reference_name,
        **estimates_json(model.overall.comparison), "texts": texts_json(evaluation, model),
        "gates": [_outcome_json(outcome) for outcome in outcomes],
        "passed": passed if outcomes else None,
    })  # fmt: skip


def _tell_verdicts(outcomes: "Sequence[Outcome]", strict: bool, quiet: bool) -> None:
    """How each limit was kept; those that were are data enough where there is a document."""
    from quantize_cli.evaluation.gate import Verdict, is_broken
    from quantize_cli.report.junit import describe

    for outcome in outcomes:
        if is_broken(outcome, strict):
            undecided = "inconclusive, " if outcome.verdict is Verdict.INCONCLUSIVE else ""
            note(f"failed: {undecided}{describe(outcome)}")
        elif outcome.verdict is Verdict.INCONCLUSIVE:
            warn(f"inconclusive: {describe(outcome)}")
        elif outcome.estimate.interval is None:
            warn(f"passed by the figure alone: {describe(outcome)}")
        elif not quiet:
            note(f"passed: {describe(outcome)}")


def _outcome_json(outcome: "Outcome") -> dict[str, object]:
    return {
        "option": outcome.gate.option, "limit": outcome.gate.limit, "figure": outcome.gate.figure,
        "text": outcome.text, "value": outcome.estimate.value, "interval": outcome.estimate.interval,
        "verdict": outcome.verdict.value,
    }  # fmt: skip


def _print(evaluation: "Evaluation") -> None:
    from quantize_cli.cli.terminal.measured import plus_minus, print_texts

    (model,) = evaluation.models
    overall = model.overall
    on = f"{overall.tokens} tokens of {overall.chunks} chunks of {evaluation.context}"
    rows = [(str(model.subject.path), plus_minus(overall), on)]
    if overall.comparison is not None:
        compared = overall.comparison
        base = f"{compared.reference_perplexity:.4f} +/- {compared.reference_perplexity_stderr:.4f}"
        rows.append((evaluation.reference_name or "", base, "the same"))
    print_table(("model", "perplexity", "measured on"), rows)
    if overall.comparison is not None:
        sys.stdout.write("\n")
        _print_comparison(overall.comparison)
    print_texts(evaluation)


def _print_comparison(comparison: "Comparison") -> None:
    from quantize_cli.cli.terminal.measured import interval, share

    rows = [("perplexity ratio", f"{comparison.perplexity_ratio.value:.4f}", interval(comparison.perplexity_ratio, 4))]
    quantiles = (
        ("KL divergence, mean", comparison.kld_mean), ("median", comparison.kld_median), ("90 %", comparison.kld_p90),
        ("95 %", comparison.kld_p95), ("99 %", comparison.kld_p99), ("99.9 %", comparison.kld_p999),
    )  # fmt: skip
    rows += [(name, f"{estimate.value:.5f}", interval(estimate, 5)) for name, estimate in quantiles]
    rows += [
        ("largest", f"{comparison.kld_max:.5f}", ""),
        ("same top token", share(comparison.top1.value), interval(comparison.top1, 2, 100, " %")),
        ("RMS change of p", share(comparison.rms_delta_p.value), interval(comparison.rms_delta_p, 2, 100, " %")),
        ("mean ln ratio", f"{comparison.mean_ln_ratio:.5f} +/- {comparison.mean_ln_ratio_stderr:.5f}", ""),
        ("correlation of ln p", f"{comparison.correlation:.4f}", ""),
    ]
    print_table(("against the reference", "", "95 % interval"), rows, frozenset({""}))
