"""What reads the spoiled files, each as a command would: by name, a share of all inputs, seeds, and a function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantize_cli.adapters.merge import merged, read_adapter
from quantize_cli.cli.terminal.json import json_pieces
from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.imatrix import read_imatrix
from quantize_cli.formats.llama_logits import LlamaLogits, read_llama_logits
from quantize_cli.formats.reference import ReferenceFile, read_reference
from quantize_cli.formats.safetensors import read_header
from quantize_cli.model import chat_templates
from quantize_cli.model.description import describe
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan, recipe, recipe_text
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.transformer import from_model
from quantize_cli.tokenizers import load_tokenizer
from tests.fuzz import seeds
from tests.fuzz.seeds import Seed

_TEXT = "Once upon a time<|im_end|> größer  1234 \u4e2d\u6587\n\n\t<s>\U0001f600 the end"
_PRESETS = ("q4_k_m", "q3_k_m")
_ROWS_READ = 64


@dataclass(frozen=True)
class Reader:
    """One way in."""

    share: float
    seeds: Callable[[], Sequence[Seed]]
    read: Callable[[Path, str], object]
    """Given the folder, and the name of the spoiled file."""


def _safetensors(folder: Path, name: str) -> None:
    for tensor in read_header(folder / name)[:8]:
        tensor.rows(0, min(tensor.row_count, _ROWS_READ))


def _checkpoint(folder: Path, name: str) -> None:
    found = open_checkpoint(folder)
    found.json("config.json")
    "".join(json_pieces(describe(folder)))


def _planned(path: Path) -> None:
    model = open_model(path)
    for preset in _PRESETS:
        plan.make(model, recipe.named(preset))


def _config(folder: Path, name: str) -> None:
    _planned(folder)


def _card(folder: Path, name: str) -> None:
    open_model(folder)


def _tokens_of_checkpoint(folder: Path, name: str) -> None:
    tokenizer = load_tokenizer(open_model(folder).metadata)
    tokenizer.decode(tokenizer.encode(_TEXT))


def _container(folder: Path, name: str) -> None:
    "".join(json_pieces(describe(folder / name)))
    _planned(folder / name)


def _tokens_of_gguf(folder: Path, name: str) -> None:
    model = open_model(folder / name)
    tokenizer = load_tokenizer(model.metadata)
    for parse_special in (False, True):
        tokenizer.decode(tokenizer.encode(_TEXT, parse_special=parse_special))
    if chat_templates.KEY in model.metadata:
        chat_templates.chat_template(model.metadata, name)


def _runtime(folder: Path, name: str) -> None:
    transformer = from_model(open_model(folder / name), threads=1)
    transformer.predict([1], Cache(transformer.hyperparameters, 1))


def _adapter(folder: Path, name: str) -> None:
    model = open_model(folder / seeds.GGUF)
    adapter = read_adapter(folder / name if name == seeds.ADAPTER else folder, model)
    for tensor in merged(model, adapter).tensors:
        tensor.read(0, min(tensor.row_count, 2))


def _imatrix(folder: Path, name: str) -> None:
    for means in read_imatrix(folder / name).means.values():
        means.sum(dtype=float)


def _rows(file: ReferenceFile | LlamaLogits) -> None:
    for chunk in range(min(3, len(file.header.tokens))):
        file.rows(chunk)


def _reference(folder: Path, name: str) -> None:
    _rows(read_reference(folder / name))


def _llama_logits(folder: Path, name: str) -> None:
    _rows(read_llama_logits(folder / name))


def _recipe(folder: Path, name: str) -> None:
    found = recipe.from_file(folder / name)
    recipe_text.format_recipe(found)


def _template(folder: Path, name: str) -> None:
    written = (folder / name).read_bytes().decode(errors="replace")
    chat_templates.render(written, [{"role": "user", "content": "Hello"}], {"bos_token": "<s>"})


READERS = {
    "safetensors": Reader(8, seeds.safetensors, _safetensors),
    "checkpoint": Reader(6, seeds.shards, _checkpoint),
    "config": Reader(14, seeds.configs, _config),
    "tokenizer-json": Reader(10, seeds.tokenizer_documents, _tokens_of_checkpoint),
    "tokenizer-model": Reader(8, seeds.sentencepieces, _tokens_of_checkpoint),
    "tokenizer-side": Reader(12, seeds.side_files, _tokens_of_checkpoint),
    "card": Reader(8, seeds.cards, _card),
    "gguf": Reader(10, seeds.containers, _container),
    "gguf-tokenizer": Reader(8, seeds.vocabularies, _tokens_of_gguf),
    "runtime": Reader(8, seeds.decoders, _runtime),
    "adapter": Reader(4, seeds.adapters, _adapter),
    "imatrix": Reader(3, seeds.matrices, _imatrix),
    "reference": Reader(2, seeds.references, _reference),
    "llama-logits": Reader(1.5, seeds.llama_logits, _llama_logits),
    "recipe": Reader(1.3, seeds.recipes, _recipe),
    "template": Reader(0.2, seeds.templates, _template),
}
