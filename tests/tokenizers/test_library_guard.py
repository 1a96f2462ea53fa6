"""Tokenizer files that bring the libraries down give one error, in good time and memory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import guard_libraries
from quantize_cli.tokenizers.vocabulary import library_guard
from quantize_cli.tokenizers.vocabulary.text_growth import MAX_NBYTES, longest_text_nbytes
from tests import checkpoints, vocabularies


def checkpoint(folder: Path, **parts: Any) -> Path:
    """A checkpoint whose tokenizer.json has these parts."""
    document = {**vocabularies.byte_level("llama-bpe", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]), **parts}
    files = {"tokenizer.json": vocabularies.dump(document)}
    return checkpoints.build("llama", folder, tokenizer="llama-bpe", files=files)


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*parts: Any, called: str = "normalizers") -> dict[str, Any]:
    return {"type": "Sequence", called: list(parts)}


def prefixed(prefix: str) -> dict[str, Any]:
    model = vocabularies.byte_level("llama-bpe", [])["model"]
    return {**model, "continuing_subword_prefix": prefix}


def unigram() -> dict[str, Any]:
    return {"type": "Unigram", "Unigram": None, "vocab": [["a", -1.0]], "byte_fallback": False, "merges": []}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"pre_tokenizer": split("((.*)*)*y")}, "retry-limit-in-match"),
        ({"model": prefixed("##")}, "index"),
        ({"model": unigram()}, "Unigram"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, "."),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "."),
    ],
)
def test_what_the_library_fails_with_names_the_file(
    parts: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=rf"^{tmp_path}/tokenizer\.json: .*{message}"):
        open_model(checkpoint(tmp_path, **parts))
    assert capfd.readouterr().err == ""


TWELVE = {"String": "."}, 12 * "."
BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "every letter": lambda: {"normalizer": sequence(*[replace({"Regex": "."}, 30 * "x")] * 3)},
    "a string": lambda: {"normalizer": sequence(*[replace(*TWELVE)] * 4)},
    "nested": lambda: {"normalizer": sequence(sequence(*[replace(*TWELVE)] * 2), sequence(*[replace(*TWELVE)] * 2))},
    "in front": lambda: {"normalizer": {"type": "Prepend", "prepend": MAX_NBYTES * "x"}},
    "letters of bytes": lambda: {"pre_tokenizer": sequence(*[{"type": "ByteLevel"}] * 11, called="pretokenizers")},
    "when decoded": lambda: {"decoder": sequence(*[replace(*TWELVE)] * 4, called="decoders")},
    "an added token": lambda: {"added_tokens": [vocabularies._added(0, MAX_NBYTES * "x")], "normalizer": None},
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_makes_texts_long_is_refused_unread(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizers.Tokenizer.from_str", None)
    with pytest.raises(InputError, match=rf"make texts longer than {MAX_NBYTES} bytes"):
        open_model(checkpoint(tmp_path, **BOMBS[name]()))


@pytest.mark.parametrize("document", [vocabularies.byte_fallback(), vocabularies.byte_level("qwen2", ["<s>"])])
def test_honest_files_make_texts_a_few_times_as_long(document: dict[str, Any]) -> None:
    assert longest_text_nbytes(document) < 20_000


@pytest.mark.parametrize(
    "odd", [3, [], "text", {"type": 3}, {"normalizers": {"a": 1}}, {"type": "Replace", "pattern": 3}]
)
def test_parts_that_are_none_make_nothing_long(odd: Any) -> None:
    assert longest_text_nbytes({"normalizer": odd, "pre_tokenizer": odd, "decoder": odd, "added_tokens": odd}) == 1000


def test_a_regular_expression_takes_so_long_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_guard, "_SECONDS", 2)
    slow = sequence(*[split(r"[\s\S]*[\s\S]*[\s\S]*[^\s\S]")] * 9, called="pretokenizers")
    with pytest.raises(InputError, match=r"tokenizer\.json: reading it takes more than 2 s of processor time"):
        open_model(checkpoint(tmp_path, pre_tokenizer=slow))


def test_only_unusual_files_get_a_trial_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_guard, "_run_trial", lambda checkpoint, where: pytest.fail("tried"))
    for name in vocabularies.PRETOKENIZERS:
        open_model(checkpoints.build("llama", tmp_path / name, tokenizer=name))
    open_model(checkpoints.build("llama", tmp_path / "fallback", tokenizer="byte-fallback"))
    with pytest.raises(pytest.fail.Exception, match="tried"):
        open_model(checkpoint(tmp_path / "odd", pre_tokenizer=split("[a-z]+")))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    found = open_checkpoint(checkpoint(tmp_path))
    for error in (KeyError("k"), KeyboardInterrupt(), InputError("told")):
        with pytest.raises(type(error)), guard_libraries(found):
            raise error


def test_standard_error_comes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with guard_libraries(open_checkpoint(checkpoint(tmp_path))):
        os.write(2, b"the library speaks")
    os.write(2, b"we speak")
    assert capfd.readouterr().err == "we speak"


def test_a_closed_standard_error_stays_closed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from quantize_cli.model.source import open_model; os.close(2)\n"
        "open_model(Path(sys.argv[1]))\n"
        "try: os.fstat(2)\nexcept OSError: print('closed')"
    )
    command = [sys.executable, "-c", program, str(checkpoint(tmp_path))]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"closed\n"


def test_a_piece_that_is_no_text_is_told(tmp_path: Path) -> None:
    model = vocabularies.SENTENCEPIECE.read_bytes()
    assert model.count("▁the".encode()) >= 1
    broken = model.replace("▁the".encode(), b"\xe2\x28\xa1the", 1)
    with pytest.raises((InputError, FormatError), match=r"token|utf-8|piece"):
        open_model(checkpoints.build("llama", tmp_path, files={"tokenizer.model": broken}))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"])
def test_half_a_surrogate_pair_is_refused(file: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path) / file
    content = path.read_text() if path.exists() else "{}"
    path.write_text(content.replace("{", '{"key": "\\ud800", ', 1).replace(", }", "}"))
    with pytest.raises(FormatError, match=rf"{file}: not text: a string holds '\\ud800', half of a surrogate pair"):
        open_model(tmp_path)


def test_a_whole_surrogate_pair_is_a_letter(tmp_path: Path) -> None:
    found = checkpoint(tmp_path)
    (found / "generation_config.json").write_text('{"sequence": "\\ud83d\\ude80"}')
    assert open_model(found).metadata["general.sampling.sequence"].data == "🚀"
