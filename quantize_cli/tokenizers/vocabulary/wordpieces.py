"""WordPiece as llama.cpp computes it: words from the longest tokens that fit, from left to right.

Equal to llama.cpp's `llm_tokenizer_wpm_session`. Unlike BERT's own tokenizer it has no longest word, takes the first
part only of a character that Unicode takes apart (so of a Hangul syllable the first letter is left), and lower-cases a
character to one.
"""

import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache

from quantize_cli.tokenizers.vocabulary.byte_level_bpe import decode_like_llama_cpp
from quantize_cli.tokenizers.vocabulary.gguf_keys import Vocabulary

BEGINNING = "▁"
"""Before a token that begins a word, in the place of BERT's "##" before one that does not."""
_UNKNOWN_ID = 100
_REMEMBERED_WORDS = 1 << 17
_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    map(chr, range(0x2000, 0x200B))
)
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""The sixth range begins later than the block: so it does in `tokenizers`, and in llama.cpp after it."""
_ALONE, _DROPPED = "alone", "dropped"


def word_encoder(vocab: Vocabulary) -> Callable[[str], list[int]]:
    """A function from text to ids, which remembers words. Invalid UTF-8 comes as `surrogateescape` decodes it."""
    ids = {text: token for token, text in enumerate(vocab.texts)}
    longest = max(map(len, ids))
    unknown = vocab.token("unknown", _UNKNOWN_ID)
    lowers = vocab.flag("normalizer.lowercase", False)
    strips = vocab.flag("normalizer.strip_accents", lowers)
    character = lru_cache(_REMEMBERED_WORDS)(lambda letter: _normalized(letter, lowers, strips))

    @lru_cache(_REMEMBERED_WORDS)
    def encode_word(word: str) -> list[int]:
        rest, pieces = BEGINNING + word, list[int]()
        while rest:
            length = next((n for n in range(min(len(rest), longest), 0, -1) if rest[:n] in ids), 0)
            if not length:
                return [] if unknown is None else [unknown]
            pieces.append(ids[rest[:length]])
            rest = rest[length:]
        return pieces

    def encode(text: str) -> list[int]:
        return [token for word in _words(decode_like_llama_cpp(text), character) for token in encode_word(word)]

    return encode


def _words(text: str, character: Callable[[str], tuple[str, str]]) -> Iterator[str]:
    """The words of a text: cut at spaces, and around what stands alone."""
    word = ""
    for letter in text:
        kind, written = character(letter)
        if kind in (" ", _ALONE):
            if word:
                yield word
            word = ""
            if kind == _ALONE:
                yield written
        elif kind != _DROPPED:
            word += written
    if word:
        yield word


def _normalized(letter: str, lowers: bool, strips: bool) -> tuple[str, str]:
    """What a character is in a text, and how it is written."""
    if strips:
        letter = unicodedata.normalize("NFD", letter)[0]
    category = unicodedata.category(letter)
    if letter in _SPACES:
        return " ", ""
    if letter == "\ufffd" or category in ("Cc", "Cf", "Co", "Cs") or (strips and category[0] == "M"):
        return _DROPPED, ""
    is_symbol = letter < "\x7f" and category[0] == "S"
    alone = category[0] == "P" or is_symbol or any(first <= ord(letter) <= last for first, last in _IDEOGRAPHS)
    return (_ALONE if alone else "", letter.lower()[0] if lowers else letter)
