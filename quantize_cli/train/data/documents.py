"""Tokens of a text or a conversation, before they are cut or packed."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.tokenizers import Tokenizer


@dataclass(frozen=True)
class Document:
    """The tokens of one text, and which of them a model is to learn to predict."""

    tokens: np.ndarray
    """(n,) int32."""
    counted: np.ndarray
    """(n,) bool."""

    def part(self, start: int, stop: int) -> "Document":
        """Tokens `start` to `stop`."""
        return Document(self.tokens[start:stop], self.counted[start:stop])


def text_document(text: str, tokenizer: Tokenizer, special: bool = False) -> Document:
    """A text between the tokens that begin and end one, where the vocabulary has them; the first does not count.

    Control tokens in the text are letters unless `special`.
    """
    tokens = np.array(tokenizer.encode(text, parse_special=special), np.int32)
    counted = np.ones(tokens.size, bool)
    if tokenizer.adds_bos and tokenizer.bos_id is not None:
        counted[0] = False
    if tokenizer.eos_id is None or tokenizer.adds_eos:
        return Document(tokens, counted)
    return Document(np.append(tokens, np.int32(tokenizer.eos_id)), np.append(counted, True))


def joined(documents: list[Document]) -> Document:
    """Documents one after the other."""
    return Document(np.concatenate([d.tokens for d in documents]), np.concatenate([d.counted for d in documents]))
