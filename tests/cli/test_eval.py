"""quantize eval: the perplexity llama-perplexity would report."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.evaluate.corpus import read_chunks
from quantize_cli.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded
from tests.evaluate.test_perplexity import surprises

TEXT = EXAMPLES / "sample.txt"


@pytest.mark.parametrize("mix", ["f16", "q8_0", "q4_k_m"])
def test_the_perplexity_is_llama_cpps(mix: str, tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "out.gguf"
    succeeded("convert", MODEL, "--type", mix, "-o", path)
    found = document("eval", path, "--text", TEXT, "--ctx", "256")
    chunks = read_chunks(TEXT, load_tokenizer(open_model(path).metadata), 256)
    reference = oracle.Model(path, context=256)
    expected = np.exp(np.concatenate([surprises(reference.logits(chunk), chunk) for chunk in chunks]).mean())
    assert found["perplexity"] == pytest.approx(expected, rel=0.002)
    assert (found["chunks"], found["tokens"]) == (len(chunks), len(chunks) * 127)


def test_a_checkpoint_is_measured_as_it_is() -> None:
    found = document("eval", MODEL, "--text", TEXT, "--ctx", "128", "--chunks", "2")
    assert (found["ctx"], found["chunks"], found["tokens"]) == (128, 2, 2 * 63)
    said = succeeded("eval", MODEL, "--text", TEXT, "--ctx", "128", "--chunks", "2")
    assert f"{found['perplexity']:.4f} +/- " in said


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--text", "absent.txt"), 3, "absent.txt: "),
        (("--text", TEXT, "--ctx", "100000"), 3, "sample.txt: the text is "),
        (("--text", TEXT, "--ctx", "2"), 2, "a context of 2 tokens"),
        (("--text", TEXT, "--chunks", "0"), 2, "cannot measure 0 chunks"),
        ((), 2, "missing option '--text'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: tuple[str, ...], code: int, says: str) -> None:
    assert_refused(quantize("eval", MODEL, *options), code, says)
