"""Byte-level BPE: a text is split into words, each byte of a word becomes a letter, and letters merge in order.

Equal to llama.cpp's `llm_tokenizer_bpe_session`, for incomplete vocabularies too. A byte whose letter is not a token
separates its neighbours while they merge, and is dropped at the end; `tokenizers` drops it first, so there the
neighbours may merge. A merge result that is not a token becomes those of its letters that are ASCII and tokens.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from tokenizers import Regex, models, pre_tokenizers

from quantize_cli.tokenizers.vocabulary.gguf_keys import Vocabulary
from quantize_cli.tokenizers.vocabulary.pretokenizer import Pretokenizer

_REMEMBERED_WORDS = 1 << 17
_REPLACEMENT = 0xFFFD
_HALVES, _STAND_IN = re.compile("[\ud800-\udfff]"), "\U0010ffff"
"""The splitter refuses half of a surrogate pair, so another character that is not a letter replaces it."""
_CODED = re.compile(
    rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|(?:[\xf0-\xf3]|\xf4(?=[\x80-\x8f]))[\x80-\xbf]{3}|.", re.DOTALL
)


def word_encoder(vocab: Vocabulary, cuts: Pretokenizer) -> Callable[[str], list[int]]:
    """A function from text to ids, which remembers words. Invalid UTF-8 comes as `surrogateescape` decodes it."""
    ids = {text: token for token, text in enumerate(vocab.texts)}
    model, spelled = _model(ids, len(vocab.texts), vocab.strings("merges"))
    cutter = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cuts.splits])

    @lru_cache(_REMEMBERED_WORDS)
    def encode_word(word: str) -> list[int]:
        letters = word.encode(errors="surrogatepass").decode("latin-1").translate(BYTE_LETTERS)
        if cuts.ignores_merges and letters in ids:
            return [ids[letters]]
        pieces = [piece.id for piece in model.tokenize(letters)]
        return [token for piece in pieces for token in spelled.get(piece, (piece,))]

    def encode(text: str) -> list[int]:
        if not _HALVES.search(text):
            return [token for word, _ in cutter.pre_tokenize_str(text) for token in encode_word(word)]
        text = decode_like_llama_cpp(text)
        words = cutter.pre_tokenize_str(_HALVES.sub(_STAND_IN, text))
        return [token for _, (start, end) in words for token in encode_word(text[start:end])]

    return encode


def _model(ids: dict[str, int], count: int, merges: Iterable[str]) -> tuple[models.BPE, dict[int, tuple[int, ...]]]:
    """A model that knows every letter, and the tokens that replace its pieces without a token."""
    # A space can be the first letter of a merge's left part; of equal merges the first counts.
    cut = ((merge[:at], merge[at + 1 :]) for merge in merges for at in (merge.find(" ", 1),) if at > 0)
    pairs = list(dict.fromkeys(pair for pair in cut if pair[1]))
    needed = dict.fromkeys(BYTE_LETTERS.values())
    needed |= dict.fromkeys(part for left, right in pairs for part in (left, right, left + right) if part not in ids)
    missing = [text for text in needed if text not in ids]
    spelled = {
        count + index: tuple(ids[letter] for letter in text if letter.isascii() and letter in ids)
        for index, text in enumerate(missing)
    }
    whole = ids | {text: count + index for index, text in enumerate(missing)}
    return models.BPE(vocab=whole, merges=pairs), spelled


def decode_like_llama_cpp(text: str) -> str:
    """Invalid UTF-8 as llama.cpp reads it: overlong encodings and half a surrogate pair are characters.

    Any other byte is U+FFFD, as are those of code points beyond Unicode, at which llama.cpp aborts.
    """
    return "".join(map(_character, _CODED.findall(text.encode(errors="surrogateescape"))))


def _character(coded: bytes) -> str:
    if len(coded) == 1:
        return chr(coded[0] if coded[0] < 0x80 else _REPLACEMENT)
    value = coded[0] & (0x7F >> len(coded))
    for byte in coded[1:]:
        value = value << 6 | byte & 0x3F
    return chr(value)


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_LETTERS = dict(zip([*_PRINTABLE, *_OTHERS], map(chr, [*_PRINTABLE, *range(0x100, 0x200)]), strict=False))
"""GPT-2's letter for each byte: printable Latin-1 is itself, the others follow from U+0100 on."""
_BYTES = {letter: byte for byte, letter in BYTE_LETTERS.items()}


def token_bytes(name: str) -> bytes:
    """The bytes of a token's letters; a letter without a byte is itself in UTF-8."""
    return b"".join(bytes([_BYTES[letter]]) if letter in _BYTES else letter.encode() for letter in name)
