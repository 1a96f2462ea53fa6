"""A limit is kept, broken or undecided by the interval; what is not a number breaks it. JUnit's file says the same."""

from math import inf, nan
from xml.etree import ElementTree

import pytest

from quantize_cli.errors import UsageError
from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.gate import Gate, Outcome, Verdict, is_passed, parse_gates, verdict
from quantize_cli.report.junit import document

MOST, LEAST = Gate("--max-kld", "kld_mean", 0.5), Gate("--min-top1", "top1", 0.5, is_minimum=True)
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("estimate", "most", "least"),
    [
        (Estimate(0.3, (0.2, 0.4)), PASS, FAIL),
        (Estimate(0.3, (0.2, 0.5)), PASS, INCONCLUSIVE),
        (Estimate(0.4, (0.3, 0.6)), INCONCLUSIVE, INCONCLUSIVE),
        (Estimate(0.6, (0.4, 0.8)), INCONCLUSIVE, INCONCLUSIVE),
        (Estimate(0.7, (0.6, 0.8)), FAIL, PASS),
        (Estimate(0.3, (-inf, 0.4)), PASS, FAIL),
        (Estimate(0.7, None), FAIL, PASS),
        (Estimate(0.3, None), PASS, FAIL),
        (Estimate(0.5, None), PASS, PASS),
        (Estimate(nan, None), FAIL, FAIL),
        (Estimate(inf, None), FAIL, FAIL),
        (Estimate(-inf, None), FAIL, FAIL),
        (Estimate(0.3, (nan, 0.4)), FAIL, FAIL),
        (Estimate(0.3, (0.2, nan)), FAIL, FAIL),
        (Estimate(0.3, (0.2, inf)), INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_the_interval_decides(estimate: Estimate, most: Verdict, least: Verdict) -> None:
    assert (verdict(MOST, estimate), verdict(LEAST, estimate)) == (most, least)


def test_a_figure_without_an_interval_never_passes_if_strict() -> None:
    assert verdict(MOST, Estimate(0.3, None), strict=True) is FAIL
    assert verdict(LEAST, Estimate(0.7, None), strict=True) is FAIL
    assert verdict(MOST, Estimate(0.3, (0.2, 0.4)), strict=True) is PASS


@pytest.mark.parametrize(("said", "doubted"), [("5", True), ("1", True), ("0.99", False), ("500%", False)])
def test_a_plain_number_that_allows_everything_is_doubted(said: str, doubted: bool) -> None:
    (gate,) = parse_gates(said, None, None)
    assert bool(gate.doubt) is doubted
    if doubted:
        assert f"{100 * float(said):g} % more perplexity" in gate.doubt


def test_limits_are_shares_or_percentages() -> None:
    found = parse_gates("2%", "0.03", "90%")
    assert [(gate.option, gate.figure) for gate in found] == [
        ("--max-ppl-increase", "perplexity_ratio"), ("--max-kld", "kld_mean"), ("--min-top1", "top1"),
    ]  # fmt: skip
    assert [gate.limit for gate in found] == pytest.approx([1.02, 0.03, 0.9])
    assert [gate.is_minimum for gate in found] == [False, False, True]
    assert parse_gates(None, None, None) == []


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (("two", None, None), "--max-ppl-increase two: not a number"),
        ((None, "nan", None), "--max-kld nan: a limit is a number from 0 on"),
        ((None, "-1", None), "--max-kld -1: a limit is a number from 0 on"),
        ((None, "%", None), "--max-kld %: not a number"),
        ((None, None, "90"), "--min-top1 90: more than all"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: tuple[str | None, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gates(*limits)
    assert says in str(caught.value)


def outcome(judged: Verdict, text: str = "a.txt") -> Outcome:
    return Outcome(MOST, text, Estimate(0.5, (0.4, 0.6)), judged)


@pytest.mark.parametrize(
    ("judged", "passes", "strictly"), [(PASS, True, True), (INCONCLUSIVE, True, False), (FAIL, False, False)]
)
def test_what_is_undecided_fails_only_if_strict(judged: Verdict, passes: bool, strictly: bool) -> None:
    outcomes = [outcome(PASS), outcome(judged)]
    assert (is_passed(outcomes, False), is_passed(outcomes, True)) == (passes, strictly)


@pytest.mark.parametrize(("strict", "failures"), [(False, 1), (True, 2)])
def test_junit_has_a_case_for_each_limit_on_each_text(strict: bool, failures: int) -> None:
    outcomes = [outcome(PASS), outcome(INCONCLUSIVE, "b.txt"), outcome(FAIL, "c\x00\x1b<&>\udce9.txt")]
    suite = ElementTree.fromstring(document("m.gguf", ["a.txt"], outcomes, strict, 1.5))
    assert suite.tag == "testsuite"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", str(failures), "0")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases[:2]] == ["--max-kld on a.txt", "--max-kld on b.txt"]
    assert cases[2].get("name") == "--max-kld on c\\x00\\x1b<&>\\udce9.txt"
    assert len(suite.findall("testcase/failure")) == failures
    failed = cases[2].find("failure")
    assert failed is not None
    assert "kld_mean 0.5 (0.4 to 0.6), wanted at most 0.5" in str(failed.get("message"))


def test_junit_says_what_was_measured_without_limits() -> None:
    suite = ElementTree.fromstring(document("m.gguf", ["a.txt", "b.txt"], [], False, 0))
    assert [case.get("name") for case in suite.findall("testcase")] == ["measured on a.txt", "measured on b.txt"]
