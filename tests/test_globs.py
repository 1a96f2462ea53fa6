"""A pattern that matches nothing is answered with a glob that does what its author perhaps meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.pipeline.globs import advice

PARTS = ("attn_q", "attn_v", "ffn_down", "ffn_up")
NAMES = ["output.weight", *(f"blk.{layer}.{part}.weight" for layer in range(12) for part in PARTS)]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"blk\.[0-9]+\.ffn_.*", "'blk.*.ffn_*' matches 24"),
        (r"blk\.\d+\.attn_v", "'*blk.*.attn_v*' matches 12"),
        ("^blk.*$", "'blk*' matches 48"),
        ("attn_v", "'*attn_v*' matches 12"),
        (r".*attn_(q|k)\.weight", "'*attn_*.weight' matches 24"),
        ("blk.(1|2).ffn_down.weight", "'blk.*.ffn_down.weight' matches 12"),
        ("blk.((1|2)|3).ffn_down.weight", "'blk.*.ffn_down.weight' matches 12"),
        ("ffn_up|ffn_down", "'*ffn_up*' matches 12"),
        (r"blk\.[^1]\.ffn_up", "'*blk.[!1].ffn_up*' matches 9"),
        (r"blk\.1[01]\.ffn_up\.weight", "'blk.1[01].ffn_up.weight' matches 2"),
        (r"blk\.\d{2}\.ffn_up\.weight", "'blk.*.ffn_up.weight' matches 12"),
    ],
)
def test_a_regular_expression_is_answered_with_its_glob(pattern: str, says: str) -> None:
    assert advice(pattern, NAMES) == f"patterns are globs on whole names: {says}"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("outptu.weight", "output.weight"), ("blk.*.atn_v.weight", "blk.*.attn_v.weight"), ("((((", "output.weight")],
)
def test_a_name_that_is_none_is_answered_with_the_nearest(pattern: str, near: str) -> None:
    assert advice(pattern, NAMES) == f"patterns are globs on whole names, such as '{near}'"


def test_a_model_of_no_names_gives_none() -> None:
    assert advice("a", []) == "patterns are globs on whole names"


@given(st.text(st.sampled_from("(|)[]{}^$.*+?\\blk0a,"), max_size=300))
@settings(deadline=None)
def test_whatever_is_written_is_answered(pattern: str) -> None:
    assert advice(pattern, NAMES).startswith("patterns are globs")
