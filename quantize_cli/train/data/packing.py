"""Documents as chunks of equal length: texts are joined and cut, conversations are kept whole where they fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantize_cli.tokenizers import Tokenizer
from quantize_cli.train.data.documents import Document, joined

_OPEN = 64
"""Chunks with room left that a conversation is tried in."""


@dataclass(frozen=True)
class Packing:
    """How chunks are filled."""

    context: int
    """Tokens of a chunk."""
    first: int | None
    """The token that begins each chunk, where the vocabulary adds one."""
    padding: int
    """A token for room that is left; it never counts."""

    def cut(self, documents: Sequence[Document]) -> list[Document]:
        """Texts joined, and cut into chunks, the last of which is padded. No token is lost."""
        if not documents:
            return []
        stream, chunks, start = joined(list(documents)), [], 0
        while start < stream.tokens.size:
            chunk, start = self._next(stream, start)
            chunks.append(self._padded(chunk))
        return chunks

    def pack(self, documents: Sequence[Document]) -> list[Document]:
        """Conversations in the first chunk that has room for all of one; longer ones are cut."""
        pieces = [piece for document in documents for piece in self._pieces(document)]
        chunks: list[list[Document]] = []
        room: dict[int, int] = {}
        for piece in pieces:
            size = piece.tokens.size
            index = next((chunk for chunk, left in room.items() if left >= size), None)
            if index is None:
                index = len(chunks)
                chunks.append([])
                room[index] = self.context
                if len(room) > _OPEN:
                    room.pop(min(room, key=room.__getitem__))
            chunks[index].append(piece)
            if index in room:
                room[index] -= size
        return [self._padded(joined(chunk)) for chunk in chunks]

    def _pieces(self, document: Document) -> list[Document]:
        """The document, or if it is too long those parts of it that hold something to learn."""
        if document.tokens.size <= self.context:
            return [document]
        parts, start = [], 0
        while start < document.tokens.size:
            part, start = self._next(document, start)
            # A part may come to lie behind another conversation, from which its first token cannot be predicted.
            parts.append(Document(part.tokens, part.counted & (np.arange(part.tokens.size) > 0)))
        return [part for part in parts if part.counted.any()]

    def _next(self, stream: Document, start: int) -> tuple[Document, int]:
        """As many tokens from `start` on as fill a chunk after the token that begins it, and where the next begins."""
        if self.first is None or stream.tokens[start] == self.first:
            return stream.part(start, start + self.context), start + self.context
        stop = start + self.context - 1
        begin = Document(np.array([self.first], np.int32), np.array([False]))
        return joined([begin, stream.part(start, stop)]), stop

    def _padded(self, chunk: Document) -> Document:
        left = self.context - chunk.tokens.size
        tokens = np.append(chunk.tokens, np.full(left, self.padding, np.int32))
        counted = np.append(chunk.counted, np.zeros(left, bool))
        counted[0] = False
        return Document(tokens, counted)


def packing(tokenizer: Tokenizer, context: int) -> Packing:
    """How this vocabulary fills chunks of so many tokens."""
    padding = next((token for token in (tokenizer.eos_id, tokenizer.bos_id) if token is not None), 0)
    return Packing(context, tokenizer.bos_id if tokenizer.adds_bos else None, padding)
