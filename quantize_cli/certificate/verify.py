"""What a file claims of its making, held against what can be found out again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import Evaluate, file_sha256, measurable_chunks, measure, plain_name
from quantize_cli.certificate.digest import stored_sha256, weights_sha256
from quantize_cli.certificate.rebuild import first_difference
from quantize_cli.certificate.statement import Certificate, Figure
from quantize_cli.errors import InputError, QuantizeError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf import shards
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import from_stored
from quantize_cli.pipeline import plan
from quantize_cli.pipeline.plan import Step
from quantize_cli.pipeline.recipe_text import parse_recipe
from quantize_cli.pipeline.roles import why_kept


class Verdict(Enum):
    """What was found out about a claim."""

    CONFIRMED = "confirmed"
    NOT_CHECKABLE = "not checkable"
    CONTRADICTED = "contradicted"


Finding = tuple[Verdict, str]
"""And what speaks for it: what was found instead, or what it would take to check."""
Findings = dict[str, Finding]
"""By the claim's key, without its prefix."""


@dataclass(frozen=True)
class Check:
    """A claim and what became of it."""

    claim: str
    """Its key in the metadata, without `quantize.`."""
    stated: Any
    """Text, a count, or three numbers."""
    verdict: Verdict
    found: str


@dataclass(frozen=True)
class Evidence:
    """What claims are held against."""

    reference: Path | None
    """What the file is said to be made of."""
    texts: Sequence[Path]
    evaluate: Evaluate


_CONFIRMED: Finding = (Verdict.CONFIRMED, "")
_SOURCE_NEEDED: Finding = (Verdict.NOT_CHECKABLE, "--reference SRC is needed")
_TEXT_NEEDED: Finding = (Verdict.NOT_CHECKABLE, "--text FILE is needed")
_NOTHING_TELLS: Finding = (Verdict.NOT_CHECKABLE, "nothing in the file tells")

_SLACK: dict[str, Callable[[float, int], float]] = {
    "kld_mean": lambda stated, tokens: 0.01 * stated + 2e-5,
    "perplexity_ratio": lambda stated, tokens: 1e-3,
    "top1": lambda stated, tokens: 1e-3 + 3 / tokens,
}
"""How far a figure may be off on another machine, by what is stated and the number of tokens scored.

The same file and text gave the same figures to all digits on AVX-512, AVX2 and SSE2, as lanes fix the order of sums.
What is left are other libraries' exponentials and logarithms, which can tip the rounding of an activation, or which of
two equally likely tokens is first. All of this lies far inside the intervals of a text of any use.
"""
_INTERVAL_SLACK = 0.1
"""How much farther the ends of an interval may be off, in its widths: NumPy may come to draw other chunks."""


def verify(path: Path, evidence: Evidence) -> list[Check]:
    """Every claim of the file at `path`, in its order.

    InputError when it has no certificate or one that is malformed, FormatError when it is no GGUF file; both too when
    the evidence is not what it should be.
    """
    file, stored = shards.read_model(path)
    claims = statement.read(str(path), file.metadata)
    held = stored_sha256([from_stored(tensor) for tensor in stored])
    findings: Findings = {"tensors.sha256": _same(claims.tensors, held)}
    digests = {text: file_sha256(text) for text in evidence.texts}
    findings |= _text_findings(claims, digests)
    source = None if evidence.reference is None else open_model(evidence.reference)
    if source is None:
        findings |= dict.fromkeys(["source.sha256", "recipe", "method"], _SOURCE_NEEDED)
    else:
        findings |= _source_findings(claims, stored, source)
    if claims.evaluation is not None:
        of_text = next((text for text, digest in digests.items() if digest == claims.evaluation.sha256), None)
        reason = _unmeasurable(findings)
        if reason is not None:
            findings |= _of_evaluation(reason)
        else:
            assert source is not None
            assert of_text is not None
            findings |= _measured_again(path, claims.evaluation, source, of_text, evidence.evaluate)
    return [Check(key, value, *findings.get(key, _NOTHING_TELLS)) for key, value in claims.stated().items()]


def _same(claimed: str, computed: str) -> Finding:
    return _CONFIRMED if claimed == computed else (Verdict.CONTRADICTED, computed)


# --- texts -------------------------------------------------------------------------------------------------------


def _text_findings(claims: Certificate, digests: dict[Path, str]) -> Findings:
    """Texts are matched by their bytes. An unmatched text contradicts the claim of its name, or all without one."""
    parts = {"calibration": claims.calibration, "training": claims.training, "evaluation": claims.evaluation}
    claimed = {name: part for name, part in parts.items() if part is not None}
    open_claims = [part for part in claimed.values() if part.sha256 not in digests.values()]
    strangers = [text for text, digest in digests.items() if digest not in {part.sha256 for part in claimed.values()}]
    findings: Findings = {}
    for name, part in claimed.items():
        match = next((text for text, digest in digests.items() if digest == part.sha256), None)
        named = [text for text in strangers if plain_name(text) == part.name]
        other = next(iter(named or (strangers if len(strangers) >= len(open_claims) else [])), None)
        if match is not None:
            findings[f"{name}.sha256"] = _CONFIRMED
            findings[f"{name}.name"] = _CONFIRMED if plain_name(match) == part.name else _NOTHING_TELLS
        elif other is not None:
            findings[f"{name}.sha256"] = Verdict.CONTRADICTED, digests[other]
        else:
            findings |= {f"{name}.sha256": _TEXT_NEEDED, f"{name}.name": _TEXT_NEEDED}
    return findings


# --- the source --------------------------------------------------------------------------------------------------


def _source_findings(claims: Certificate, stored: Sequence[StoredTensor], source: Model) -> Findings:
    """What the source tells: whether it is the one, and whether recipe and method make of it what the file holds."""
    finding = _same(claims.source, weights_sha256(source.tensors))
    if finding is not _CONFIRMED:
        other = Verdict.NOT_CHECKABLE, "source.sha256 is contradicted"
        return {"source.sha256": finding, "recipe": other, "method": other}
    held = {tensor.name: tensor for tensor in stored}
    try:
        steps = _steps(claims, source)
    except (QuantizeError, FormatError) as error:
        return {"source.sha256": finding, "recipe": (Verdict.NOT_CHECKABLE, str(error))}
    findings = {"source.sha256": finding, "recipe": _types_finding(steps, held)}
    if claims.method == "none" and findings["recipe"] is _CONFIRMED:
        findings["method"] = _bytes_finding(steps, held)
    return findings


def _steps(claims: Certificate, source: Model) -> tuple[Step, ...]:
    """What the recipe makes of the source."""
    # Which matrices had an importance is not known, and matters to no type but those that need one.
    weighted = None if claims.method == "none" else {tensor.name for tensor in source.tensors}
    return plan.make(source, parse_recipe(claims.recipe), weighted, requantize=True).steps


def _types_finding(steps: Sequence[Step], held: Mapping[str, StoredTensor]) -> Finding:
    """Of matrices alone: vectors stay as they are in a GGUF file, and so tell what kind of source it was."""
    differing = held.keys() ^ {step.tensor.name for step in steps}
    if differing:
        return Verdict.CONTRADICTED, f"only one of source and file has {min(differing)}"
    for step in steps:
        stored = held[step.tensor.name]
        if why_kept(step.tensor) is None and stored.dtype != step.type.name:
            return Verdict.CONTRADICTED, f"{stored.name} is {stored.dtype.lower()}, not {step.type.name.lower()}"
    return _CONFIRMED


def _bytes_finding(steps: Sequence[Step], held: Mapping[str, StoredTensor]) -> Finding:
    """Without importance a source and its types give the same bytes on every machine."""
    of_one_type = [step for step in steps if held[step.tensor.name].dtype == step.type.name]
    differing = first_difference(of_one_type, held)
    return _CONFIRMED if differing is None else (Verdict.CONTRADICTED, f"{differing} holds other bytes")


# --- what was measured -------------------------------------------------------------------------------------------


def _unmeasurable(findings: Findings) -> Finding | None:
    """Why the figures cannot be measured again, or None: source and text are confirmed."""
    for needed in ("source.sha256", "evaluation.sha256"):
        verdict, why = findings[needed]
        if verdict is Verdict.CONTRADICTED:
            why = f"{needed} is contradicted"
        if verdict is not Verdict.CONFIRMED:
            return Verdict.NOT_CHECKABLE, why
    return None


def _measured_again(
    path: Path, claimed: statement.Evaluation, source: Model, text: Path, evaluate: Evaluate
) -> Findings:
    """What the figures are when they are measured again."""
    try:
        chunks = measurable_chunks(source, text, claimed.context, claimed.chunks)
        if len(chunks) != claimed.chunks:
            raise InputError(f"{text}: has {len(chunks)} chunks of {claimed.context} tokens, not {claimed.chunks}")
    except QuantizeError as error:
        return _of_evaluation((Verdict.NOT_CHECKABLE, "not measured so")) | {
            "evaluation.context": (Verdict.CONTRADICTED, str(error)),
            "evaluation.chunks": (Verdict.CONTRADICTED, str(error)),
        }
    again = measure(evaluate, (open_model(path), source), text, chunks, claimed)
    tokens = claimed.chunks * (claimed.context - claimed.context // 2 - 1)
    measured = {name: _figure_finding(name, getattr(claimed, name), getattr(again, name), tokens) for name in _SLACK}
    are_found = all(finding is _CONFIRMED for finding in measured.values())
    other = _CONFIRMED if are_found else (Verdict.NOT_CHECKABLE, "the figures are others")
    return _of_evaluation(other) | {f"evaluation.{name}": finding for name, finding in measured.items()}


def _of_evaluation(finding: Finding) -> Findings:
    return {f"evaluation.{name}": finding for name in ("context", "chunks", *_SLACK)}


def _figure_finding(name: str, claimed: Figure, again: Figure, tokens: int) -> Finding:
    slack = _SLACK[name](claimed.value, tokens)
    at_ends = slack + _INTERVAL_SLACK * (again.high - again.low)
    pairs = (
        (claimed.value, again.value, slack),
        (claimed.low, again.low, at_ends),
        (claimed.high, again.high, at_ends),
    )
    if all(abs(one - other) <= allowed for one, other, allowed in pairs):
        return _CONFIRMED
    return Verdict.CONTRADICTED, f"{again.value:.6g}, {again.low:.6g} to {again.high:.6g}"
