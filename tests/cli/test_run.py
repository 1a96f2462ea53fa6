"""quantize run: the text llama.cpp would write."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.cli.terminal.text import escape_controls
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


def test_drawn_text_is_that_of_its_seed() -> None:
    drawn = ("run", MODEL, "-p", PROMPT, "-n", "24", "--temperature", "1.5")
    first, second = document(*drawn, "--seed", "1"), document(*drawn, "--seed", "2")
    assert first == document(*drawn, "--seed", "1")
    assert first["tokens"] != second["tokens"]
    assert document(*drawn, "--top-k", "1")["tokens"] == document("run", MODEL, "-p", PROMPT, "-n", "24")["tokens"]


def test_a_stop_string_ends_the_text_before_itself() -> None:
    whole = document("run", MODEL, "-p", PROMPT, "-n", "40")
    stop = whole["text"][10:14]
    found = document("run", MODEL, "-p", PROMPT, "-n", "40", "--stop", "never said", "--stop", stop)
    assert found["text"] == whole["text"][: whole["text"].index(stop)]
    assert (whole["ended_by"], found["ended_by"]) == ("length", "stop")
    assert found["tokens"] == whole["tokens"][: len(found["tokens"])]
    said = succeeded("run", MODEL, "-p", PROMPT, "-n", "40", "--stop", stop)
    assert said == f"{PROMPT}{found['text']}\n"


def test_a_filter_out_of_range_is_a_usage_error() -> None:
    assert_refused(quantize("run", MODEL, "-p", PROMPT, "--top-p", "1.5"), 2, "--top-p 1.5: not above 0 and at most 1")


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert escape_controls("a\n\tb\x1b[2J\x07\x9bé👩\u200d👧") == "a\n\tb\\x1b[2J\\x07\\x9bé👩\u200d👧"


def test_control_tokens_in_a_prompt_are_letters_unless_wanted() -> None:
    prompt = "Once</s> upon"
    done = quantize("run", MODEL, "-p", prompt, "-n", "2", "--json")
    assert 2 not in json.loads(done.stdout)["prompt_tokens"]
    assert "warning: the prompt: holds '</s>' 1 time, read as letters; --special reads them as tokens" in done.stderr
    done = quantize("run", MODEL, "-p", prompt, "-n", "2", "--json", "--special")
    assert (2 in json.loads(done.stdout)["prompt_tokens"], "letters" in done.stderr) == (True, False)


@pytest.mark.parametrize(("tokens", "warned"), [("8", False), ("260", True)])
def test_a_text_longer_than_trained_is_warned_of_once(tokens: str, warned: bool) -> None:
    done = quantize("run", MODEL, "-p", PROMPT, "-n", tokens)
    assert done.stderr.count("where the model was trained on 256") == warned, done.stderr
