"""SentencePiece's BPE: of all neighbours that form a piece, those with the best score are joined, until none do."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush

from quantize_cli.tokenizers.vocabulary.gguf_keys import Vocabulary
from quantize_cli.tokenizers.vocabulary.merge_scores import can_be_joined

_WORD = re.compile("▁*[^▁]+|▁+")
_SPACE_INSIDE = re.compile("[^▁]▁")
_ESCAPED = re.compile("[\udc80-\udcff]")
_REMEMBERED_WORDS = 1 << 17


def word_encoder(vocab: Vocabulary) -> Callable[[str], list[int]]:
    """A function from text to ids, equal to llama.cpp's `llm_tokenizer_spm_session`.

    Where no piece spans the beginning of a word, each word is merged alone, once, and remembered: 1 MB of text takes
    0.4 to 1.1 s instead of 4 to 6.
    """
    ids = {text: token for token, text in enumerate(vocab.texts)}
    unknown = vocab.token("unknown", 0)
    # Whether merging can form a piece with a space after another letter.
    whole = any(_SPACE_INSIDE.search(text) and can_be_joined(text, ids) for text in ids)

    def spell(symbol: str) -> list[int]:
        if symbol in ids:
            return [ids[symbol]]
        tokens = (
            ids.get(f"<0x{byte:02X}>", ids.get(chr(byte), unknown)) for byte in symbol.encode(errors="surrogateescape")
        )
        return [token for token in tokens if token is not None]

    @lru_cache(_REMEMBERED_WORDS)
    def encode_word(word: str) -> list[int]:
        return [token for symbol in merge_symbols(word, ids, vocab.scores) for token in spell(symbol)]

    def encode(text: str) -> list[int]:
        spaced = text.replace(" ", "▁")
        if _ESCAPED.search(spaced):
            symbols = merge_symbols(_symbols_by_first_byte(spaced), ids, vocab.scores)
            return [token for symbol in symbols for token in spell(symbol)]
        return [token for word in ([spaced] if whole else _WORD.findall(spaced)) for token in encode_word(word)]

    return encode


def _symbols_by_first_byte(text: str) -> list[str]:
    """Symbols of as many bytes as the first byte of each announces, whether the others belong to it or not."""
    raw, symbols = text.encode(errors="surrogateescape"), []
    at = 0
    while at < len(raw):
        nbytes = {0xC: 2, 0xD: 2, 0xE: 3, 0xF: 4}.get(raw[at] >> 4, 1)
        symbols.append(raw[at : at + nbytes].decode(errors="surrogateescape"))
        at += nbytes
    return symbols


def merge_symbols(word: Sequence[str], ids: dict[str, int], scores: tuple[float, ...]) -> list[str]:
    """The word's symbols after all merges: the best score goes first, of equals the leftmost."""
    symbols = list(word)
    following = [*range(1, len(symbols)), -1]
    preceding = list(range(-1, len(symbols) - 1))
    queue: list[tuple[float, int, int, int]] = []

    def consider(left: int, right: int) -> None:
        joined = symbols[left] + symbols[right]
        token = ids.get(joined)
        if token is not None:
            heappush(queue, (-scores[token], left, right, len(joined)))

    for left in range(len(symbols) - 1):
        consider(left, left + 1)
    heapify(queue)
    while queue:
        _, left, right, length = heappop(queue)
        if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != length:
            continue  # one of the two has been joined to something else since
        symbols[left] += symbols[right]
        symbols[right] = ""
        following[left] = following[right]
        if following[right] >= 0:
            preceding[following[right]] = left
        if preceding[left] >= 0:
            consider(preceding[left], left)
        if following[left] >= 0:
            consider(left, following[left])
    return [symbol for symbol in symbols if symbol]
