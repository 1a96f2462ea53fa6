"""Control tokens that stand in a text are found, counted, and said where they are many."""

from dataclasses import dataclass

import pytest

from quantize_cli.evaluation.special_tokens import control_token_notice, count_control_tokens, is_worth_a_notice


@dataclass(frozen=True)
class HasSpecialTokens:
    """Three control tokens, one of which is a part of another, and one that a person may type."""

    special_tokens: tuple[tuple[str, int], ...] = (("<|im_end|>", 1), ("<mine>", 4), ("<s><s>", 2), ("<s>", 3))
    control_ids: frozenset[int] = frozenset({1, 2, 3})


def test_control_tokens_are_counted_the_longest_first() -> None:
    text = "a<|im_end|>b<s><s><s>c<mine> <|im_end|>"
    assert count_control_tokens(text, HasSpecialTokens()) == {"<|im_end|>": 2, "<s><s>": 1, "<s>": 1}
    assert count_control_tokens("<|im_start|> and <s", HasSpecialTokens()) == {}


@pytest.mark.parametrize(
    ("count", "tokens", "full"), [(0, 10, False), (1, 10, True), (1, 2500, False), (2, 2500, True), (10, 10**6, True)]
)
def test_a_text_is_full_of_them_by_number_or_by_share(count: int, tokens: int, full: bool) -> None:
    assert is_worth_a_notice({"<s>": count} if count else {}, tokens) is full


def test_the_notice_names_the_most_frequent() -> None:
    assert control_token_notice("a.txt", {"<s>": 1, "<|im_end|>": 120}) == (
        "a.txt: holds '<|im_end|>' 120 times, '<s>' 1 time, read as letters; --special reads them as tokens"
    )
    assert "'d' 4 times, 'c' 3 times, 'b' 2 times and 1 more" in control_token_notice(
        "a.txt", {"a": 1, "b": 2, "c": 3, "d": 4}
    )
