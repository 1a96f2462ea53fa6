"""Small tokenizers for made-up checkpoints: byte-level BPE trained here, SentencePiece from a file."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

SENTENCEPIECE = Path(__file__).resolve().parent / "golden" / "converter" / "tokenizer.model"
"""Trained by this project on TinyStories; 1,024 pieces, bytes among them."""
SENTENCEPIECE_SIZE = 1024

_SENTENCES = (
    "the quick brown fox jumps over the lazy dog while the other foxes are sleeping in the thicket",
    "a model is a list of numbers and a way of reading them and the numbers are rounded to save room",
    "she said that it was nothing and that nothing was what it had always been since the beginning",
    "def read(path): return [line.strip() for line in path.open() if line and not line.startswith('#')]",
    "0 1 2 3 10 20 30 100 200 2024 1999 3.14159 12,345 and so on until the counting stops at 9999",
    "größer als naïve café übermäßig für señor y niño",
)
_MERGES = 160

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LETTERS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_CUTS = {
    "gpt-2": {**_LETTERS, "use_regex": True},
    "smollm": {"type": "Digits", "individual_digits": True},
    "llama-bpe": LLAMA3,
    "smaug-bpe": LLAMA3,
    "qwen2": QWEN2,
    "tekken": TEKKEN,
}
PRETOKENIZERS = tuple(_CUTS)


def letters() -> dict[int, str]:
    """GPT-2's letter for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return {byte: chr(byte if byte in printable else next(spare)) for byte in range(256)}


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """Merges of the bytes of our sentences."""
    spell = letters()
    words = [[spell[b] for b in (" " + word).encode()] for sentence in _SENTENCES for word in sentence.split()]
    return tuple(learned(words, _MERGES))


def learned(words: list[list[str]], count: int) -> list[tuple[str, str]]:
    """`count` merges of the words, the most frequent pair first; of equals the pair that sorts first."""
    found = []
    for _ in range(count):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        found.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        words = [_merge(word, found[-1]) for word in words]
    return found


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def byte_level(name: str, specials: list[str], bos: str | None = None, **flags: Any) -> dict[str, Any]:
    """A tokenizer.json of byte-level BPE that cuts as llama.cpp's pre-tokenizer `name`; `bos` is put before texts."""
    texts = [*letters().values(), *("".join(pair) for pair in merges())]
    vocabulary = {text: token for token, text in enumerate(dict.fromkeys(texts))}
    added = [_added(len(vocabulary) + index, special, **flags) for index, special in enumerate(specials)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if name == "qwen2" else None,
        "pre_tokenizer": _pretokenizer(name),
        "post_processor": _template(bos, added) if bos else {**_LETTERS, "trim_offsets": True, "use_regex": True},
        "decoder": {**_LETTERS, "use_regex": True},
        "model": _model(vocabulary, merges(), byte_fallback=False, ignore_merges=name in ("llama-bpe", "tekken")),
    }


def _pretokenizer(name: str) -> dict[str, Any]:
    cut = _CUTS[name]
    if name == "gpt-2":
        return dict(cut)  # type: ignore[arg-type]
    if name == "smollm":
        return {"type": "Sequence", "pretokenizers": [cut, _CUTS["gpt-2"]]}
    split = {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _LETTERS]}


def _added(token: int, text: str, special: bool = True, normalized: bool = False) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": token, "content": text, **flags, "normalized": normalized, "special": special}


def _template(bos: str, added: list[dict[str, Any]]) -> dict[str, Any]:
    token = next(entry["id"] for entry in added if entry["content"] == bos)
    first = {"SpecialToken": {"id": bos, "type_id": 0}}
    text, other = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"SpecialToken": {"id": bos, "type_id": 1}}, other],
        "special_tokens": {bos: {"id": bos, "ids": [token], "tokens": [bos]}},
    }


def byte_fallback() -> dict[str, Any]:
    """A tokenizer.json as Llama 2 has it: merges over letters, bytes for what has none, no tokenizer.model beside."""
    words = [list("▁" + word) for sentence in _SENTENCES[:3] for word in sentence.split()]
    alphabet = sorted({letter for word in words for letter in word})
    found = learned(words, 60)
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet, *map("".join, found)]
    vocabulary = {text: token for token, text in enumerate(dict.fromkeys(texts))}
    added = [_added(token, text) for token, text in enumerate(texts[:3])]
    added += [_added(len(vocabulary), "<|turn|>"), _added(len(vocabulary) + 1, "▁note", special=False)]
    to_letter = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    to_space = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, to_letter]},
        "pre_tokenizer": None,
        "post_processor": _template("<s>", added),
        "decoder": {"type": "Sequence", "decoders": [to_space, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": _model(vocabulary, found, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
    }


def _model(vocabulary: dict[str, int], pairs: Iterable[tuple[str, str]], **flags: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    merges = [" ".join(pair) for pair in pairs]
    return {"type": "BPE", **nothing, "fuse_unk": False, **flags, "vocab": vocabulary, "merges": merges}


def size(document: dict[str, Any]) -> int:
    """Tokens in a tokenizer.json, added ones included."""
    return len(set(document["model"]["vocab"].values()) | {entry["id"] for entry in document["added_tokens"]})


def dump(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1)


def wordpiece(lowercase: bool = True) -> dict[str, Any]:
    """A tokenizer.json as BERT's: our letters, whether they begin a word or not, and some of our words."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    text = " ".join(_SENTENCES).lower() if lowercase else " ".join(_SENTENCES)
    letters = sorted(set(text) - {" "} | set("人工가")) + (["A", "T"] if not lowercase else [])
    words = [word for word, _ in Counter(text.split()).most_common(60) if len(word) > 1 and word.isalpha()]
    endings = ["##" + word[at:] for word in words[:40] for at in (2,) if len(word) > 3]
    pieces = list(dict.fromkeys([*specials, *letters, *("##" + letter for letter in letters), *words, *endings]))

    def marker(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    def sequence(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": token, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False}
            for token, name in enumerate(specials)
        ],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [marker("[CLS]"), sequence("A"), marker("[SEP]")],
            "pair": [marker("[CLS]"), sequence("A"), marker("[SEP]"), sequence("B"), marker("[SEP]")],
            "special_tokens": {
                name: {"id": name, "ids": [specials.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {piece: token for token, piece in enumerate(pieces)},
        },
    }  # fmt: skip


def between(document: dict[str, Any], kind: str, first: str, last: str) -> dict[str, Any]:
    """The tokenizer.json with these tokens around every text, as RoBERTa's or ModernBERT's says it."""
    ids = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
    if kind == "roberta":
        ends = {"sep": [last, ids[last]], "cls": [first, ids[first]]}
        processor = {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False}
        return {**document, "post_processor": processor}
    parts = {name: {"SpecialToken": {"id": name, "type_id": 0}} for name in (first, last)}
    text, other = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    processor = {
        "type": "TemplateProcessing", "single": [parts[first], text, parts[last]],
        "pair": [parts[first], text, parts[last], other, parts[last]],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (first, last)},
    }  # fmt: skip
    return {**document, "post_processor": processor}


UNIGRAM = Path(__file__).resolve().parent / "golden" / "families" / "unigram.json"
"""Pieces and their scores, and a map of characters, trained by this project on its sentences with sentencepiece."""


def unigram() -> dict[str, Any]:
    """A tokenizer.json as XLM-RoBERTa's."""
    trained = json.loads(UNIGRAM.read_text(encoding="utf-8"))
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*([name, 0.0] for name in first), *trained["pieces"], ["<mask>", 0.0]]
    added = [_added(token, name) for token, name in enumerate(first)]
    added.append({**_added(len(vocabulary) - 1, "<mask>"), "lstrip": True})
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": trained["map"]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": False},
    }  # fmt: skip
    return between(document, "unigram", "<s>", "</s>")
