"""quantize run: the text llama.cpp would write."""

from pathlib import Path

import numpy as np

from quantize_cli.cli._text import harmless
from tests import oracle
from tests.cli.console import MODEL, assert_refused, document, quantize, succeeded

PROMPT = "Once upon a time"


def test_the_continuation_is_llama_cpps_token_for_token(tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "f32.gguf"
    succeeded("convert", MODEL, "--type", "f32", "-o", path)
    found = document("run", path, "-p", PROMPT, "-n", "64")
    reference = oracle.Model(path, context=256, exact=True)
    tokens = reference.tokenize(PROMPT)
    assert found["prompt_tokens"] == tokens
    for _ in range(64):
        tokens.append(int(reference.logits(np.array(tokens))[-1].argmax()))
    assert found["tokens"] == tokens[-64:]
    prompt, whole = (reference.detokenize(ids, remove_special=True) for ids in (tokens[:-64], tokens))
    assert found["text"].encode() == whole.removeprefix(prompt)


def test_the_text_goes_to_stdout_prompt_first() -> None:
    said = succeeded("run", MODEL, "-p", PROMPT, "-n", "8")
    found = document("run", MODEL, "-p", PROMPT, "-n", "8")
    assert said == f"{PROMPT}{found['text']}\n"


def test_a_number_of_tokens_below_one_is_a_usage_error() -> None:
    assert_refused(quantize("run", MODEL, "-p", PROMPT, "-n", "0"), 2, "--tokens")


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert harmless("a\n\tb\x1b[2J\x07\x9bé👩\u200d👧") == "a\n\tb\\x1b[2J\\x07\\x9bé👩\u200d👧"
