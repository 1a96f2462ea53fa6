"""quantize eval: how well a model predicts a text, and what it lost against another."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

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
from quantize_cli.errors import ExitCode

_Limit = Optional[str]  # noqa: UP045


def command(
    model: ModelPath,
    text: Texts = None,
    ctx: Context = None,
    chunks: Chunks = None,
    special: Special = False,
    reference: ReferencePath = None,
    save_reference: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--save-reference", metavar="FILE", help="Save what MODEL predicts, to compare others with."),
    ] = None,
    max_ppl_increase: Annotated[
        _Limit, typer.Option("--max-ppl-increase", metavar="SHARE", help="Fail if perplexity grows by more: 2%.")
    ] = None,
    max_kld: Annotated[
        _Limit, typer.Option("--max-kld", metavar="KLD", help="Fail if the mean KL divergence is larger: 0.03.")
    ] = None,
    min_top1: Annotated[
        _Limit, typer.Option("--min-top1", metavar="SHARE", help="Fail if the top tokens agree less often: 0.9.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail too if the interval of a limit crosses it, or there is none.")
    ] = False,
    junit: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--junit", metavar="FILE", help="Write the limits as JUnit's XML."),
    ] = None,
    html: HtmlFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure the perplexity of MODEL on texts, by llama.cpp's protocol, and its divergence from a reference."""
    from quantize_cli.cli.terminal.progress import report
    from quantize_cli.cli.terminal.text import note, warn
    from quantize_cli.evaluation.evaluation import Request, evaluated
    from quantize_cli.evaluation.gate import gates, is_passed, judge
    from quantize_cli.pipeline.outputs import Outputs

    wanted = gates(max_ppl_increase, max_kld, min_top1)
    _refuse_nonsense(model, reference, wanted, strict)
    for gate in wanted:
        if gate.doubt:
            warn(gate.doubt)
    outputs = Outputs((model, *(text or ()), reference), force, note)
    outputs.refuse_bad((save_reference, junit, html))
    outputs.sweep((save_reference, junit, html))
    start = time.monotonic()
    request = Request((model,), tuple(text or ()), ctx, chunks, reference, save_reference, special, outputs.guard)
    found = evaluated(request, report(quiet=json))
    measured = {
        name: summary.comparison for (name, _), summary in zip(found.texts, found.models[0].by_text, strict=True)
    }
    outcomes = judge(
        wanted, {name: comparison for name, comparison in measured.items() if comparison is not None}, strict
    )
    passed = is_passed(outcomes, strict)
    _write(found, outcomes, junit, html, strict, time.monotonic() - start, outputs.guard)
    _report(found, outcomes, passed, json)
    _say(outcomes, strict, quiet=json)
    if not passed:
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _refuse_nonsense(model: Path, reference: Path | None, wanted: list[Any], strict: bool) -> None:
    from quantize_cli.errors import UsageError

    if wanted and reference is None:
        raise UsageError(f"{wanted[0].option} needs something to compare with", hint="--reference MODEL")
    if strict and not wanted:
        raise UsageError("--strict needs a limit", hint="--max-ppl-increase, --max-kld or --min-top1")
    if reference is not None and (reference == model or _are_one(reference, model)):
        raise UsageError(f"--reference {reference} is the model itself")


def _are_one(path: Path, other: Path) -> bool:
    """Whether both names lead to the same file, which is as good as any by itself."""
    return path.exists() and other.exists() and path.samefile(other)


def _write(
    found: Any,
    outcomes: list[Any],
    junit: Path | None,
    html: Path | None,
    strict: bool,
    seconds: float,
    guard: Any,
) -> None:
    from quantize_cli.cli.terminal.measured import write_report
    from quantize_cli.report.junit import document

    (model,) = found.models
    if junit is not None:
        names = [name for name, _ in found.texts]
        write_report(junit, document(str(model.subject.path), names, outcomes, strict, seconds), guard)
    if html is not None:
        from quantize_cli.report import evaluation_page

        columns = [evaluation_page.Column(heading, [cell]) for heading, cell in _row(found).items()]
        write_report(
            html, evaluation_page.document(f"quantize eval: {model.subject.path.name}", found, columns, outcomes), guard
        )


def _row(found: Any) -> dict[str, str]:
    """The model as one row of a table."""
    from quantize_cli.cli.terminal.measured import plus_minus
    from quantize_cli.cli.terminal.text import size

    (model,) = found.models
    return {
        "model": str(model.subject.path), "size": size(model.subject.nbytes),
        "bits per weight": f"{model.subject.bits_per_weight:.4f}", "perplexity": plus_minus(model.overall),
    }  # fmt: skip


def _report(found: Any, outcomes: list[Any], passed: bool, json: bool) -> None:
    from quantize_cli.cli.terminal.measured import estimates_json, perplexity_json, print_texts
    from quantize_cli.cli.terminal.text import print_json

    (model,) = found.models
    if json:
        names = [name for name, _ in found.texts]
        print_json({
            "model": str(model.subject.path), "text": names[0] if len(names) == 1 else None, "ctx": found.context,
            **perplexity_json(model.overall), "reference": found.reference_name, **estimates_json(model.overall),
            "texts": [
                {"text": name, **perplexity_json(summary), **estimates_json(summary)}
                for name, summary in zip(names, model.by_text, strict=True)
            ],
            "gates": [_outcome_json(outcome) for outcome in outcomes], "passed": passed if outcomes else None,
        })  # fmt: skip
    else:
        _print(found)
        print_texts(found)
    sys.stdout.flush()  # before what is said of it


def _say(outcomes: list[Any], strict: bool, quiet: bool) -> None:
    """How each limit was kept; those that were are data enough where there is a document."""
    from quantize_cli.cli.terminal.text import note, warn
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


def _outcome_json(outcome: Any) -> dict[str, Any]:
    return {
        "option": outcome.gate.option, "limit": outcome.gate.limit, "figure": outcome.gate.figure,
        "text": outcome.text, "value": outcome.estimate.value, "interval": outcome.estimate.interval,
        "verdict": outcome.verdict.value,
    }  # fmt: skip


def _print(found: Any) -> None:
    from quantize_cli.cli.terminal.measured import plus_minus
    from quantize_cli.cli.terminal.text import print_table

    (model,) = found.models
    overall = model.overall
    on = f"{overall.tokens} tokens of {overall.chunks} chunks of {found.context}"
    rows = [(str(model.subject.path), plus_minus(overall), on)]
    if overall.comparison is not None:
        compared = overall.comparison
        base = f"{compared.reference_perplexity:.4f} +/- {compared.reference_perplexity_stderr:.4f}"
        rows.append((found.reference_name, base, "the same"))
    print_table(("model", "perplexity", "measured on"), rows)
    if overall.comparison is not None:
        sys.stdout.write("\n")
        _print_comparison(overall.comparison)


def _print_comparison(found: Any) -> None:
    from quantize_cli.cli.terminal.measured import interval, share
    from quantize_cli.cli.terminal.text import print_table

    rows = [("perplexity ratio", f"{found.perplexity_ratio.value:.4f}", interval(found.perplexity_ratio, 4))]
    quantiles = (
        ("KL divergence, mean", found.kld_mean), ("median", found.kld_median), ("90 %", found.kld_p90),
        ("95 %", found.kld_p95), ("99 %", found.kld_p99), ("99.9 %", found.kld_p999),
    )  # fmt: skip
    rows += [(name, f"{estimate.value:.5f}", interval(estimate, 5)) for name, estimate in quantiles]
    rows += [
        ("largest", f"{found.kld_max:.5f}", ""),
        ("same top token", share(found.top1.value), interval(found.top1, 2, 100, " %")),
        ("RMS change of p", share(found.rms_delta_p.value), interval(found.rms_delta_p, 2, 100, " %")),
        ("mean ln ratio", f"{found.mean_ln_ratio:.5f} +/- {found.mean_ln_ratio_stderr:.5f}", ""),
        ("correlation of ln p", f"{found.correlation:.4f}", ""),
    ]
    print_table(("against the reference", "", "95 % interval"), rows, frozenset({""}))
