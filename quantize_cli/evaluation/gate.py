"""Limits that a quantization must keep, for a build that fails when it does not.

A limit is kept, or broken, when the whole 95 % interval lies on one side of it; where the interval crosses it the
measurement decides nothing, and says so. Where there are too few chunks for an interval the figure decides alone,
which is not enough for those who are strict. What is not a finite number breaks every limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import isfinite, isnan

from quantize_cli.errors import UsageError
from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.evaluation import Evaluation


class Verdict(Enum):
    """What a measurement says of a limit."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Gate:
    """One limit."""

    option: str
    """As the user typed it, without its value: "--max-kld"."""
    figure: str
    """The field of Comparison it is on."""
    limit: float
    is_least: bool = False
    """Whether the figure must reach the limit, rather than stay below it."""
    doubt: str = ""
    """Why it may not be the limit that was meant."""


@dataclass(frozen=True)
class Outcome:
    """A limit on one text."""

    gate: Gate
    text: str
    estimate: Estimate
    verdict: Verdict


def gates(max_ppl_increase: str | None, max_kld: str | None, min_top1: str | None) -> list[Gate]:
    """The limits wanted; UsageError for what is no number, or makes no sense as a limit."""
    found = []
    if max_ppl_increase is not None:
        increase = _number(max_ppl_increase, "--max-ppl-increase")
        found.append(Gate("--max-ppl-increase", "perplexity_ratio", 1 + increase, doubt=_doubt(max_ppl_increase)))
    if max_kld is not None:
        found.append(Gate("--max-kld", "kld_mean", _number(max_kld, "--max-kld")))
    if min_top1 is not None:
        share = _number(min_top1, "--min-top1")
        if share > 1:
            raise UsageError(f"--min-top1 {min_top1}: more than all", hint="a share: 0.9, or 90%")
        found.append(Gate("--min-top1", "top1", share, is_least=True))
    return found


def _number(said: str, option: str) -> float:
    """2% as 0.02, and 0.02 as that."""
    scale = 0.01 if said.endswith("%") else 1.0
    try:
        number = float(said.removesuffix("%")) * scale
    except ValueError as error:
        raise UsageError(f"{option} {said}: not a number", hint="a share: 0.02, or 2%") from error
    if not isfinite(number) or number < 0:
        raise UsageError(f"{option} {said}: a limit is a number from 0 on")
    return number


def _doubt(said: str) -> str:
    """Of an increase as it was said: whoever forgets the sign of percent gets a limit that nothing breaks."""
    if said.endswith("%") or float(said) < 1:
        return ""
    return f"--max-ppl-increase {said} allows {100 * float(said):g} % more perplexity; {said}% is written with its sign"


def judge(limits: Sequence[Gate], evaluation: Evaluation, strict: bool = False) -> list[Outcome]:
    """Each limit on each text, of the one model that was compared with a reference."""
    (model,) = evaluation.models
    return [
        Outcome(gate, text, estimate, verdict(gate, estimate, strict))
        for gate in limits
        for (text, _), summary in zip(evaluation.texts, model.by_text, strict=True)
        for estimate in [getattr(summary.comparison, gate.figure)]
    ]


def verdict(gate: Gate, estimate: Estimate, strict: bool = False) -> Verdict:
    """By the interval; without one by the figure, which, if `strict`, cannot pass."""
    low, high = estimate.interval or (estimate.value, estimate.value)
    if not isfinite(estimate.value) or isnan(low) or isnan(high):
        return Verdict.FAIL
    if (high < gate.limit) if gate.is_least else (low > gate.limit):
        return Verdict.FAIL
    if (low >= gate.limit) if gate.is_least else (high <= gate.limit):
        return Verdict.FAIL if strict and estimate.interval is None else Verdict.PASS
    return Verdict.INCONCLUSIVE


def is_broken(outcome: Outcome, strict: bool) -> bool:
    """Whether the limit is broken or, if `strict`, left undecided."""
    return outcome.verdict is Verdict.FAIL or (strict and outcome.verdict is Verdict.INCONCLUSIVE)


def is_passed(outcomes: Sequence[Outcome], strict: bool) -> bool:
    """Whether no limit is broken, nor, if `strict`, left undecided."""
    return not any(is_broken(outcome, strict) for outcome in outcomes)
