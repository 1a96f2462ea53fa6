"""Reads what a model is trained on: texts, and JSON lines of texts and conversations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation.corpus import AS_LETTERS, Reading, read_chunks
from quantize_cli.evaluation.special_tokens import control_token_notice, count_control_tokens, is_worth_a_notice
from quantize_cli.formats.reference import MIN_CONTEXT
from quantize_cli.model.chat_templates import KEY
from quantize_cli.runtime.hyperparameters import HasMetadata
from quantize_cli.tokenizers import Tokenizer, load_tokenizer
from quantize_cli.train.data.conversations import ChatFormat
from quantize_cli.train.data.documents import Document, text_document
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.data.held_out import held_out
from quantize_cli.train.data.json_lines import SUFFIXES, Record, read_records
from quantize_cli.train.data.packing import packing


@dataclass(frozen=True)
class Cutting:
    """How texts become chunks."""

    context: int = 256
    """Tokens of a chunk."""
    held_out: float = 0.03
    """Share of the chunks that no step sees."""
    seed: int = 0
    """Decides which those are."""


def read_examples(
    paths: Sequence[Path], model: HasMetadata, cutting: Cutting, reading: Reading = AS_LETTERS
) -> Examples:
    """Chunks of all files in order, each of which is read once.

    Files that end in .jsonl or .ndjson are JSON lines: a `text` each, which are joined with the token that ends a text
    and cut, or `messages` each, laid out by the model's chat template and kept whole where they fit. Others are plain
    texts, cut as `evaluation.corpus.read_chunks` cuts them. InputError naming file and line for what cannot be read,
    UsageError for a file that is named twice.
    """
    names = [str(path) for path in paths]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise UsageError(f"the data {twice} is given twice")
    if not paths:
        raise UsageError("there are no data to train on")
    if cutting.context < MIN_CONTEXT:
        raise UsageError(f"a context of {cutting.context} tokens is too short, at least {MIN_CONTEXT} are needed")
    source = _Source(load_tokenizer(model.metadata), _template(model), model.path, reading)
    chunks = [chunk for path in paths for chunk in source.chunks(path, cutting.context)]
    tokens, counted = np.stack([chunk.tokens for chunk in chunks]), np.stack([chunk.counted for chunk in chunks])
    _refuse_unknown(tokens, model)
    held = held_out(len(tokens), cutting.held_out, cutting.seed)
    return Examples(tokens[~held], counted[~held], tokens[held], counted[held])


@dataclass(frozen=True)
class _Source:
    """What files are read with."""

    tokenizer: Tokenizer
    template: str | None
    model: Path
    reading: Reading

    def chunks(self, path: Path, context: int) -> list[Document]:
        """The chunks of a file; InputError when there is none with something to learn."""
        if path.suffix.lower() == ".json":
            raise InputError(f"{path}: neither a text nor json lines", hint="json lines end in .jsonl")
        if path.suffix.lower() not in SUFFIXES:
            return self._text_chunks(path, context)
        fill = packing(self.tokenizer, context)
        texts: list[Document] = []
        conversations: list[Record] = []
        markers: Counter[str] = Counter()
        for record in read_records(path):
            if record.text is None:
                conversations.append(record)
                continue
            texts.append(text_document(record.text, self.tokenizer, self.reading.special))
            if not self.reading.special:
                markers.update(count_control_tokens(record.text, self.tokenizer))
        if is_worth_a_notice(markers, sum(text.tokens.size for text in texts)):
            self.reading.notice(control_token_notice(str(path), markers))
        chunks = [*fill.cut(texts), *fill.pack(self._conversations(conversations, context))]
        chunks = [chunk for chunk in chunks if chunk.counted.any()]
        if not chunks:
            raise InputError(f"{path}: holds nothing to learn from", hint="a line holds a 'text', or 'messages'")
        return chunks

    def _text_chunks(self, path: Path, context: int) -> list[Document]:
        counted = np.arange(context) > 0
        return [
            Document(tokens, counted) for tokens in read_chunks(path, self.tokenizer, context, reading=self.reading)
        ]

    def _conversations(self, records: Sequence[Record], context: int) -> list[Document]:
        if not records:
            return []
        if self.template is None:
            raise InputError(
                f"{records[0].origin} holds messages, but {self.model} has no chat template",
                hint="give the line a 'text', or train a chat model",
            )
        documents = list(ChatFormat(self.tokenizer, self.template).documents(records))
        longer = sum(document.tokens.size > context for document in documents)
        if longer:
            self.reading.notice(
                f"{longer} of {len(documents)} conversations are longer than {context} tokens and are cut"
            )
        return documents


def _template(model: HasMetadata) -> str | None:
    value = model.metadata.get(KEY)
    return value.data if value is not None and isinstance(value.data, str) else None


def _refuse_unknown(tokens: np.ndarray, model: HasMetadata) -> None:
    """A vocabulary may be larger than the embedding, and torch would then read past its end or fail on a device."""
    rows = next((tensor.row_count for tensor in model.tensors if tensor.name == "token_embd.weight"), 0)
    if tokens.max() >= rows:
        raise InputError(f"{model.path}: token {tokens.max()} of the data is not in an embedding of {rows} rows")
