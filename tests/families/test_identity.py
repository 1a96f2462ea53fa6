"""A model's name is taken apart as llama.cpp's converter does it; the expected parts are what that gave."""

import pytest

from quantize_cli.model.general import size_label
from quantize_cli.model.model_name import ModelName, parse_model_name, title


@pytest.mark.parametrize(
    ("model", "parameter_count", "expected"),
    [
        ("meta-llama/Meta-Llama-3-8B", 8030261248, ("Meta-Llama-3-8B", "meta-llama", "Meta-Llama-3", None, None, "8B")),
        ("Llama-3.2-1B-Instruct", 1235814400, ("Llama-3.2-1B-Instruct", None, "Llama-3.2", "Instruct", None, "1B")),
        ("Mistral-7B-v0.3", 0, ("Mistral-7B-v0.3", None, "Mistral", None, "v0.3", "7B")),
        ("yarn-mistral-7b-128k", 7241732096, ("yarn-mistral-7b-128k", None, "yarn-mistral", "128k", None, "7B")),
        ("bloom-7b1", 0, ("bloom-7b1", None, "bloom", None, None, "7.1B")),
        ("gpt2-medium", 0, ("gpt2-medium", None, "gpt2", None, None, "medium")),
        ("x-7B-7b-large", 0, ("x-7B-7b-large", None, "x", "large", None, "7B")),
        ("Foo-Q4_K_M-GGUF", 0, ("Foo-Q4_K_M-GGUF", None, "Foo", "GGUF", None, None)),
        ("stories260K", 260032, ("stories260K", None, None, None, None, None)),
        ("./x/y", 0, ("x/y", None, None, None, None, None)),
        ("--", 0, ("--", None, None, None, None, None)),
    ],
)
def test_a_name_has_parts(model: str, parameter_count: int, expected: tuple[str | None, ...]) -> None:
    assert ModelName(*expected) == parse_model_name(model, parameter_count)


def test_a_sentence_is_only_a_name() -> None:
    assert ModelName(name="my own 7B model") == parse_model_name("my own 7B model", 0)


def test_millions_of_letters_are_not_taken_apart() -> None:
    assert ModelName(name="a-" * 1_000_000) == parse_model_name("a-" * 1_000_000, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tiny-llama-1b-v1.0", "Tiny Llama 1b v1.0"), ("DeepSeek-R1", "DeepSeek R1"), ("  a--b ", "A B")],
)
def test_a_title_keeps_versions_and_acronyms(name: str, expected: str) -> None:
    assert expected == title(name)


@pytest.mark.parametrize(
    ("parameter_count", "expected"),
    [
        (999, "1.0K"),
        (9449, "9.4K"),
        (260032, "260K"),
        (10**6, "1000K"),
        (2885888, "2.9M"),
        (135_000_000, "135M"),
        (1_235_814_400, "1.2B"),
        (7_241_732_096, "7.2B"),
        (70_553_706_496, "71B"),
        (1_500_000_000_000, "1.5T"),
    ],
)
def test_a_size_has_two_digits_or_more(parameter_count: int, expected: str) -> None:
    assert expected == size_label(parameter_count)
