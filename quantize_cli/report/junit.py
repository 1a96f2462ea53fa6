"""Outcomes as JUnit's XML, which build servers show: one test case for each limit on each text."""

from collections.abc import Sequence
from xml.etree import ElementTree

from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.gate import Outcome, is_broken


def document(model: str, texts: Sequence[str], outcomes: Sequence[Outcome], strict: bool, seconds: float) -> bytes:
    """The file's bytes. Without limits a case for each text says that it was measured."""
    suite = ElementTree.Element("testsuite", name="quantize eval")
    failures = 0
    names = [f"{outcome.gate.option} on {outcome.text}" for outcome in outcomes]
    for name in names or [f"measured on {text}" for text in texts]:
        ElementTree.SubElement(suite, "testcase", classname=_clean(model), name=_clean(name), time="0")
    for case, outcome in zip(suite, outcomes, strict=False):
        description = describe(outcome)
        if is_broken(outcome, strict):
            failures += 1
            ElementTree.SubElement(case, "failure", message=_clean(description), type=outcome.verdict.value)
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(f"{outcome.verdict.value}: {description}")
    suite.attrib.update(tests=str(len(suite)), failures=str(failures), errors="0", time=f"{seconds:.3f}")
    ElementTree.indent(suite)
    written: bytes = ElementTree.tostring(suite, "utf-8", xml_declaration=True)
    return written + b"\n"


def describe(outcome: Outcome) -> str:
    """One line: the figure, its interval, and the limit."""
    gate = outcome.gate
    limit = "at least" if gate.is_minimum else "at most"
    return f"{outcome.text}: {gate.figure} {interval_text(outcome.estimate)}, wanted {limit} {gate.limit:g}"


def interval_text(estimate: Estimate) -> str:
    """`0.0123 (0.0110 to 0.0136)`."""
    if estimate.interval is None:
        return f"{estimate.value:.4g} (too few chunks for an interval)"
    low, high = estimate.interval
    return f"{estimate.value:.4g} ({low:.4g} to {high:.4g})"


def _clean(text: str) -> str:
    """Without what XML 1.0 cannot hold: control characters, and halves of characters from file names."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
