"""Byte-level BPE: a text is cut, each byte of a word becomes a letter, and letters merge in order.

Equal to llama.cpp's `llm_tokenizer_bpe_session` where vocabularies are not whole, too. A byte whose letter is no token
stands between its neighbours while these merge, and is left out at the end; the library a checkpoint's own tokenizer is
made with leaves it out before, so there the neighbours may merge. What merges to something that is no token is spelled
by those of its letters that are ASCII and tokens.
"""

import re
from collections.abc import Callable, Iterable

from tokenizers import Regex, models, pre_tokenizers

from quantize_cli.tokenizers.vocabulary.gguf_keys import Vocabulary
from quantize_cli.tokenizers.vocabulary.pretokenizer import Pretokenizer

_REMEMBERED_WORDS = 1 << 17
_REPLACEMENT = 0xFFFD
_HALVES, _STAND_IN = re.compile("[\ud800-\udfff]"), "\U0010ffff"
"""Half a surrogate pair is no text to cut, so a character that is as little of a letter stands in for it."""
_CODED = re.compile(
    rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|(?:[\xf0-\xf3]|\xf4(?=[\x80-\x8f]))[\x80-\xbf]{3}|.", re.DOTALL
)


def word_encoder(vocab: Vocabulary, cuts: Pretokenizer) -> Callable[[str], list[int]]:
    """A function from text to ids. Bytes that are no UTF-8 come as `surrogateescape` decodes them.

    Each word is merged once and remembered.
    """
    ids = {text: token for token, text in enumerate(vocab.texts)}
    model, spelled = _model(ids, len(vocab.texts), vocab.list_of_texts("merges"))
    cutter = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cuts.splits])
    remembered: dict[str, list[int]] = {}

    def encode_word(word: str) -> list[int]:
        tokens = remembered.get(word)
        if tokens is None:
            letters = word.encode(errors="surrogatepass").decode("latin-1").translate(BYTE_LETTERS)
            if cuts.ignores_merges and letters in ids:
                tokens = [ids[letters]]
            else:
                pieces = [piece.id for piece in model.tokenize(letters)]
                tokens = [token for piece in pieces for token in spelled.get(piece, (piece,))]
            if len(remembered) < _REMEMBERED_WORDS:
                remembered[word] = tokens
        return tokens

    def encode(text: str) -> list[int]:
        if _is_whole(text):
            return [token for word, _ in cutter.pre_tokenize_str(text) for token in encode_word(word)]
        text = _as_the_engine_reads(text)
        places = cutter.pre_tokenize_str(_HALVES.sub(_STAND_IN, text))
        return [token for _, (start, end) in places for token in encode_word(text[start:end])]

    return encode


def _model(ids: dict[str, int], count: int, merges: Iterable[str]) -> tuple[models.BPE, dict[int, tuple[int, ...]]]:
    """The merging of words whose every letter is known, and by what tokens the pieces are spelled that are none."""
    # A space can be the first letter of a merge's left part; of merges that are stated twice the first counts.
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


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_the_engine_reads(text: str) -> str:
    """Bytes that are no UTF-8, as llama.cpp reads them: spellings too long and half a surrogate pair are characters.

    Any other byte is U+FFFD, also those of code points that Unicode does not have, at which llama.cpp ends itself.
    """
    return "".join(map(_character, _CODED.findall(text.encode(errors="surrogateescape"))))


def _character(coded: bytes) -> str:
    if len(coded) == 1:
        return chr(coded[0] if coded[0] < 0x80 else _REPLACEMENT)
    value = coded[0] & (0x7F >> len(coded))
    for byte in coded[1:]:
        value = value << 6 | byte & 0x3F
    return chr(value)


def _letters_of_bytes() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it is printable Latin-1, else the next letter from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + rank) for rank, byte in enumerate(others)}


BYTE_LETTERS = _letters_of_bytes()
_BYTES = {letter: byte for byte, letter in BYTE_LETTERS.items()}


def token_bytes(name: str) -> bytes:
    """The bytes a token's letters stand for; a letter that stands for none says itself."""
    return b"".join(bytes([_BYTES[letter]]) if letter in _BYTES else letter.encode() for letter in name)
