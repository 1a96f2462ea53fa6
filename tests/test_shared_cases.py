"""Inputs that people met, made by the generators beside the project, and what becomes of each: `make compare`."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests import checkpoints, oracle
from tests.cli.console import EXAMPLES, MODEL, environment, quantize, succeeded

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
SAMPLE = EXAMPLES / "sample.txt"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.is_dir(), reason="the generators lie beside the project, in ../shared"),
]


@dataclass(frozen=True)
class Refused:
    """The exit code of `convert`, and what it says of this part of a case."""

    part: str
    words: tuple[str, ...]
    code: int = 3


@dataclass(frozen=True)
class Converted:
    """A part of a case that becomes a file; `words` are among the warnings, `holds` looks into it."""

    part: str
    words: tuple[str, ...] = ()
    holds: Callable[[Path], None] = lambda path: None
    loads: bool = True
    """In llama.cpp."""
    options: tuple[str, ...] = ("--type", "f16")


def metadata(path: Path) -> dict[str, Any]:
    """By key, what an independent reader finds."""
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def perplexity_is(expected: float) -> Callable[[Path], None]:
    def holds(path: Path) -> None:
        said = succeeded("eval", path, "--text", SAMPLE, "--ctx", "256")
        assert f"{expected:.2f}" in said, said

    return holds


def tokens_are(names: dict[int, str]) -> Callable[[Path], None]:
    def holds(path: Path) -> None:
        found = metadata(path)
        tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
        assert {number: tokens[number] for number in names} == names
        assert all(types[number] != gguf.TokenType.UNUSED for number in names)
        assert found["tokenizer.ggml.eos_token_id"] in names

    return holds


def ends_are(count: int) -> Callable[[Path], None]:
    def holds(path: Path) -> None:
        found = metadata(path)
        assert "tokenizer.ggml.eos_token_id" in found
        ends = {
            number for key, number in found.items() if key.endswith(("eos_token_id", "eot_token_id", "eom_token_id"))
        }
        assert len(ends) == count

    return holds


def template_begins(text: str) -> Callable[[Path], None]:
    def holds(path: Path) -> None:
        assert metadata(path)["tokenizer.chat_template"].startswith(text)

    return holds


WANTED: dict[str, Sequence[Refused | Converted]] = {
    "case01_spm_without_tokenizer_model": [Converted(".", holds=perplexity_is(10.46))],
    "case02_padded_embedding_json_only": [Converted(".")],
    "case04_token_added_without_resizing": [Refused(".", ("[PAD]", "502", "hint"))],
    "case08_head_missing": [Refused(".", ("lm_head.weight", "tie_word_embeddings"))],
    "case10_wrapped_names": [
        Converted("_orig_mod", ("_orig_mod.",)), Converted("module", ("module.",)),
        Converted("base_model_model", ("base_model.model.",)), Converted("model_model", ("model.",)),
    ],
    "case11_stale_index": [Converted(".", ("index",))],
    "case14_hub_cache": [
        Converted("hub/models--org--Tiny-Llama-1M/snapshots/0123456789abcdef0123456789abcdef01234567"),
        Converted("hub/models--org--Tiny-Llama-1M"), Converted("local dir ü"),
    ],
    "case15_two_chat_templates": [Converted(".", ("template",), template_begins("NEW"))],
    "case16_several_ends": [Converted("unnamed", holds=ends_are(2)), Converted("turn", holds=ends_are(2))],
    "case17_bfloat16_beyond_float16": [
        Refused("f16", ("blk.1.ffn_down", "down_proj", "bf16")), Refused("blocks", ("down_proj", "bf16")),
        Converted("f16", options=("--type", "bf16")), Converted("blocks", options=("--type", "bf16")),
    ],
    "case22_quantized_by_others": [
        Refused("bnb4", ("bitsandbytes",)), Refused("bnb8", ("bitsandbytes",)), Refused("gptq", ("gptq",)),
        Refused("awq", ("awq",)), Refused("fp8", ("fp8",)), Refused("int8", ("compressed-tensors",)),
    ],
    "case23_tokenizers_of_other_kinds": [
        Refused("unigram", ("nigram",)), Refused("wordlevel", ("ord",)), Refused("slow", ("vocab.json",)),
        Refused("metaspace", ("tokenizer.json",)), Refused("newer", ("NeuralBPE",)),
    ],
    "case25_config_changes_the_function": [
        Refused("relu", ("hidden_act", "relu")), Refused("inverse", ("scale_attn_by_inverse_layer_idx",)),
        Refused("act", ("activation_function", "relu")),
    ],
    "case28_adapter_directory": [
        Refused(".", ("adapter", "org/Tiny", "merge")), Refused("adapter_model.safetensors", ("adapter", "merge")),
    ],
    "case31_downloads_that_are_none": [
        Refused("pointer", ("Git LFS", "git lfs pull")), Refused("page", ("web page",)),
        Refused("short", ("cut short",)), Refused("empty", ("0 bytes",)), Refused("vocabulary", ("Git LFS",)),
    ],
    "case33_biases_an_engine_may_not_load": [
        Converted("llama"), Converted("qwen2"), Refused("qwen3", ("bias", "qwen3")),
    ],
    "case34_added_tokens_only_in_tokenizer_json": [
        Converted(".", holds=tokens_are({1024: "<|im_start|>", 1025: "<|im_end|>"})),
    ],
}  # fmt: skip


def made(case: str, directory: Path) -> Path:
    """The inputs of a case, in a new folder."""
    environ = {**environment(), "QUANTIZE_REPO": str(EXAMPLES.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, CASES / f"{case}.py", directory], check=True, env=environ, capture_output=True)
    return directory


@pytest.mark.parametrize("case", WANTED)
def test_what_people_met_is_right_or_refused(case: str, tmp_path: Path) -> None:
    folder = made(case, tmp_path / "case")
    for number, wanted in enumerate(WANTED[case]):
        output = tmp_path / f"{number}.gguf"
        options = wanted.options if isinstance(wanted, Converted) else ("--type", "f16")
        if (case, wanted.part) == ("case17_bfloat16_beyond_float16", "blocks") and isinstance(wanted, Refused):
            options = ("--type", "q8_0")
        done = quantize("convert", folder / wanted.part, *options, "-o", output)
        assert "Traceback" not in done.stderr
        assert [word for word in wanted.words if word.lower() not in done.stderr.lower()] == [], done.stderr
        if isinstance(wanted, Refused):
            assert (done.returncode, output.exists()) == (wanted.code, False), done.stderr
        else:
            assert done.returncode == 0, done.stderr
            wanted.holds(output)
            if wanted.loads:
                oracle.Model(output)


def test_an_importance_with_gaps_is_told(tmp_path: Path) -> None:
    folder = made("case19_importance_of_zero_or_missing", tmp_path / "case")
    gap = quantize("convert", MODEL, "--type", "q4_k_m", "--imatrix", folder / "gap.gguf", "-o", tmp_path / "a.gguf")
    assert gap.returncode == 0
    assert "blk.2" in gap.stderr
    few = quantize("convert", MODEL, "--type", "iq2_xxs", "--imatrix", folder / "gap.gguf", "-o", tmp_path / "b.gguf")
    assert few.returncode == 3
    assert "gap.gguf" in few.stderr
    other = quantize("convert", MODEL, "--type", "q4_k", "--imatrix", folder / "other.gguf", "-o", tmp_path / "c.gguf")
    assert other.returncode == 3


HOSTILE = sorted((CASES / "hostile").glob("*[!t]")) if CASES.is_dir() else []
_BENEATH = {"card": "README.md", "generation_config": "generation_config.json", "tokenizer_model": "tokenizer.model"}
_OF_BYTES = {"tokenizer_json": "tokenizer.json", "tokenizer_config": "tokenizer_config.json"}
_PEAK_NBYTES = 512 << 20
"""Of the address space of a whole command: the interpreter and its libraries take most of it."""


def hostile_command(path: Path, directory: Path) -> tuple[object, ...]:
    kind = path.name.partition("-")[0]
    if kind in _BENEATH or kind in _OF_BYTES:
        name = {**_BENEATH, **_OF_BYTES}[kind]
        tokenizer = "llama-bpe" if kind in _OF_BYTES else "sentencepiece"
        checkpoints.build("llama", directory, tokenizer=tokenizer, files={name: path.read_bytes()})
        return "plan", directory
    if kind == "plan":
        return "plan", path, "-t", "q3_k_m"
    if kind == "llama_logits":
        return "eval", MODEL, "--text", SAMPLE, "--ctx", "256", "--reference", path
    return "run", path, "--prompt", "x"


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name)
def test_what_broke_a_reader_is_refused_in_one_line_within_little_memory(path: Path, tmp_path: Path) -> None:
    command = hostile_command(path, tmp_path / "checkpoint")
    program = (
        "import resource, sys; from quantize_cli.cli import main\n"
        "try: main()\n"
        "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True, check=False,
        env=environment(), cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    assert not any(word in done.stderr for word in ("Traceback", "Warning:", "panicked")), done.stderr
    peak = int(done.stderr.rpartition("peak ")[2]) << 10
    assert peak < _PEAK_NBYTES, peak


SCRIPTS = {
    "eval01_nan_scale": ("exit 3", "gate exit 3", "calibrate exit 3"),
    "eval02_few_chunks_gate": ("exit 3", "is not finite", "500 %"),
    "eval07_beyond_trained_context": ("a context of 512 tokens", "trained on 256"),
    "eval08_outputs_replace": ("exit 4", "character special file", "symbolic link"),
    "eval23_cache_damaged": (
        "job 1 exit 0",
        "empty nbi exit 0",
        "cut nbi exit 0",
        "empty nbc exit 0",
        "cut nbc exit 0",
    ),
}
FORBIDDEN = {
    "eval01_nan_scale": ("exit 0",),
    "eval02_few_chunks_gate": (),
    "eval07_beyond_trained_context": (),
    "eval08_outputs_replace": ("exit 0",),
    "eval23_cache_damaged": ("exit 1", "exit 4"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_that_people_typed_end_as_they_should(script: str, tmp_path: Path) -> None:
    wrapper = tmp_path / "quantize"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quantize_cli "$@"\n')
    wrapper.chmod(0o755)
    environ = {
        **environment(),
        "QUANTIZE": str(wrapper),
        "PYTHON": sys.executable,
        "QUANTIZE_REPO": str(EXAMPLES.parent),
    }
    done = subprocess.run(
        ["bash", CASES / f"{script}.sh", tmp_path / "work"], capture_output=True, text=True, check=False, env=environ,
        cwd=EXAMPLES.parent, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert [words for words in SCRIPTS[script] if words not in said] == [], said
    assert [words for words in FORBIDDEN[script] if words in said.splitlines()] == [], said
    assert Path("/dev/null").is_char_device()
