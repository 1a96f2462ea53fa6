"""Limits for a quantization, so that a build can fail when one is broken.

A limit is kept or broken when the whole 95 % interval lies on one side of it. If the interval crosses it, the
measurement is inconclusive. With too few chunks for an interval the figure alone decides, but cannot pass if `strict`.
A figure that is not finite breaks every limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import isfinite, isnan

from quantize_cli.errors import UsageError
from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.evaluation import Evaluation


class Verdict(Enum):
    """The result of a measurement for a limit."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Gate:
    """One limit."""

    option: str
    """Without its value: "--max-kld"."""
    figure: str
    """The field of Comparison that it limits."""
    limit: float
    is_minimum: bool = False
    """Whether the limit is a minimum, not a maximum."""
    doubt: str = ""
    """Why the user may have meant another limit."""


@dataclass(frozen=True)
class Outcome:
    """A limit on one text."""

    gate: Gate
    text: str
    estimate: Estimate
    verdict: Verdict


def parse_gates(max_ppl_increase: str | None, max_kld: str | None, min_top1: str | None) -> list[Gate]:
    """The limits of the options; UsageError for a value that is not a number, or makes no sense as a limit."""
    limits = []
    if max_ppl_increase is not None:
        increase = _number(max_ppl_increase, "--max-ppl-increase")
        limits.append(Gate("--max-ppl-increase", "perplexity_ratio", 1 + increase, doubt=_doubt(max_ppl_increase)))
    if max_kld is not None:
        limits.append(Gate("--max-kld", "kld_mean", _number(max_kld, "--max-kld")))
    if min_top1 is not None:
        share = _number(min_top1, "--min-top1")
        if share > 1:
            raise UsageError(f"--min-top1 {min_top1}: more than all", hint="a share: 0.9, or 90%")
        limits.append(Gate("--min-top1", "top1", share, is_minimum=True))
    return limits


def _number(text: str, option: str) -> float:
    """2% as 0.02, and 0.02 as that."""
    scale = 0.01 if text.endswith("%") else 1.0
    try:
        number = float(text.removesuffix("%")) * scale
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a number", hint="a share: 0.02, or 2%") from error
    if not isfinite(number) or number < 0:
        raise UsageError(f"{option} {text}: a limit is a number from 0 on")
    return number


def _doubt(text: str) -> str:
    """A warning for an increase of 1 or more without a percent sign, which hardly any model exceeds."""
    if text.endswith("%") or float(text) < 1:
        return ""
    return f"--max-ppl-increase {text} allows {100 * float(text):g} % more perplexity; {text}% is written with its sign"


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
    """By the interval; without one by the figure, which cannot pass if `strict`."""
    low, high = estimate.interval or (estimate.value, estimate.value)
    if not isfinite(estimate.value) or isnan(low) or isnan(high):
        return Verdict.FAIL
    if (high < gate.limit) if gate.is_minimum else (low > gate.limit):
        return Verdict.FAIL
    if (low >= gate.limit) if gate.is_minimum else (high <= gate.limit):
        return Verdict.FAIL if strict and estimate.interval is None else Verdict.PASS
    return Verdict.INCONCLUSIVE


def is_broken(outcome: Outcome, strict: bool) -> bool:
    """Whether the limit is broken or, if `strict`, inconclusive."""
    return outcome.verdict is Verdict.FAIL or (strict and outcome.verdict is Verdict.INCONCLUSIVE)


def is_passed(outcomes: Sequence[Outcome], strict: bool) -> bool:
    """Whether no limit is broken, nor, if `strict`, left undecided."""
    return not any(is_broken(outcome, strict) for outcome in outcomes)
