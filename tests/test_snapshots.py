"""Every mix chooses for real models what llama.cpp chose, tensor by tensor, as its own snapshots have it."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value, text, u32
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import fallbacks, recipe

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "snapshots"
MODELS = ("gemma-3-4b-it", "gpt-oss-120b", "meta-llama-3.1-70b-instruct", "qwen3-0.6b", "qwen3-14b")
_ARCHITECTURE = {"gemma-3-4b-it": "gemma3", "gpt-oss-120b": "gpt-oss", "meta-llama-3.1-70b-instruct": "llama"}
_TIED = {"gemma-3-4b-it"}
_HEAD_WIDTH = {"gemma-3-4b-it": 256, "gpt-oss-120b": 64, "qwen3-0.6b": 128}


def _unread(start: int, stop: int) -> np.ndarray:
    raise AssertionError("a recipe reads no weights")


def _model(name: str, sizes: dict[str, int]) -> tuple[dict[str, Value], list[Tensor]]:
    """The metadata a recipe asks for, and the matrices it decides on, from the sizes a snapshot states."""
    architecture = _ARCHITECTURE.get(name, "qwen3")
    metadata = {
        "general.architecture": text(architecture),
        f"{architecture}.block_count": u32(sizes["n_layer"]),
        f"{architecture}.attention.head_count": u32(sizes["n_head"]),
        f"{architecture}.attention.head_count_kv": u32(sizes["n_head_kv"]),
        f"{architecture}.expert_count": u32(sizes.get("n_expert", 0)),
    }
    width = _HEAD_WIDTH.get(name, 128)
    shapes = dict(_shapes(sizes, width, name in _TIED))
    return metadata, [Tensor(n, shape, GgmlType.F32, _unread, n) for n, shape in shapes.items()]


def _shapes(sizes: dict[str, int], head_width: int, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner, experts = sizes["n_embd"], sizes["n_ff"], sizes.get("n_expert", 0)
    queries, keys = sizes["n_head"] * head_width, sizes["n_head_kv"] * head_width
    yield "token_embd.weight", (1024, hidden)
    if not tied:
        yield "output.weight", (1024, hidden)
    stack, suffix = ((experts,), "_exps") if experts else ((), "")
    for layer in range(sizes["n_layer"]):
        block = f"blk.{layer}"
        yield f"{block}.attn_q.weight", (queries, hidden)
        yield f"{block}.attn_k.weight", (keys, hidden)
        yield f"{block}.attn_v.weight", (keys, hidden)
        yield f"{block}.attn_output.weight", (hidden, queries)
        yield f"{block}.ffn_gate{suffix}.weight", (*stack, inner, hidden)
        yield f"{block}.ffn_up{suffix}.weight", (*stack, inner, hidden)
        yield f"{block}.ffn_down{suffix}.weight", (*stack, hidden, inner)


def _snapshot(path: Path) -> tuple[dict[str, int], dict[str, tuple[str, dict[str, str]]]]:
    """The sizes stated on top, and per file type its default and the tensors that differ from it."""
    lines = path.read_text().splitlines()
    sizes = {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", lines[1])}
    sections: dict[str, tuple[str, dict[str, str]]] = {}
    for line in lines[2:]:
        if heading := re.fullmatch(r"\[(\w+)\] (\w+)", line):
            sections[heading[1]] = (heading[2].lower(), different := {})
        elif line:
            name, type_ = line.split()
            different[name] = type_.lower()
    return sizes, sections


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the snapshots lie beside the project, in ../shared")
@pytest.mark.parametrize("name", MODELS)
def test_mixes_choose_what_llama_cpp_chose(name: str) -> None:
    sizes, sections = _snapshot(FOLDER / f"{name}.schema")
    metadata, tensors = _model(name, sizes)
    assert len(sections) == 33
    for file_type, (default, expected) in sections.items():
        chosen = recipe.named(file_type).choose(tensors, metadata, has_importance=False)
        fitted = {t.name: fallbacks.fitting(chosen[t.name][0], t.columns)[0].name.lower() for t in tensors}
        assert {n: type_ for n, type_ in fitted.items() if type_ != default} == expected, file_type
