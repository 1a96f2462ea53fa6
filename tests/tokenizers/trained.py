"""SentencePiece models trained here on the example's text, and the tokenizer.json that transformers makes of them."""

import io
from functools import cache
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sample.txt"
STYLES = ("prepended", "metaspace", "spaces kept")
"""How a tokenizer.json spells spaces: as Llama 2's, as transformers 5 does, and as Gemma's, with none put first."""


@cache
def model(size: int = 800, **options: Any) -> bytes:
    """A tokenizer.model of `size` pieces; `options` are SentencePiece's."""
    written = io.BytesIO()
    lines = [line for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line]
    settings = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", **options}
    settings["user_defined_symbols"] = list(options.get("user_defined_symbols", ()))
    settings.setdefault("remove_extra_whitespaces", False)
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, vocab_size=size, minloglevel=2, num_threads=1, **settings
    )
    return written.getvalue()


def document(stored: bytes, style: str, added: tuple[tuple[str, bool], ...] = ()) -> dict[str, Any]:
    """tokenizer.json of a tokenizer.model, with tokens `added` at its end, each with whether it is special.

    Every way to split a piece into two others is a merge, in the order of the pieces' scores (SentencePieceExtractor).
    """
    processor = SentencePieceProcessor(model_proto=stored)
    names = [processor.IdToPiece(token) for token in range(processor.vocab_size())]
    ids = {name: token for token, name in enumerate(names)}
    merges = []
    for token, name in enumerate(names):
        if not (processor.IsByte(token) or processor.IsControl(token) or processor.IsUnknown(token)):
            pairs = [(name[:at], name[at:]) for at in range(1, len(name)) if name[:at] in ids and name[at:] in ids]
            merges += [
                (processor.GetScore(token), list(pair)) for pair in sorted(pairs, key=lambda p: (ids[p[0]], ids[p[1]]))
            ]
    merges.sort(key=lambda entry: -entry[0])
    tokens = [(name, True, ids[name]) for name in ("<unk>", "<s>", "</s>")]
    tokens += [(name, special, ids.get(name, len(names) + at)) for at, (name, special) in enumerate(added)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(*token) for token in tokens],
        **_spacing(style),
        "post_processor": None,
        "model": {
            "type": "BPE",
            **dict.fromkeys(("dropout", "continuing_subword_prefix", "end_of_word_suffix")),
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [pair for _, pair in merges],
        },
    }


def _added(name: str, special: bool, token: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": name, **flags, "special": special}


def _spacing(style: str) -> dict[str, Any]:
    spelled = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    normalizer: dict[str, Any] | None = spelled
    pretokenizer: dict[str, Any] | None = None
    if style == "prepended":
        normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spelled]}
    elif style == "metaspace":
        normalizer = None
        pretokenizer = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    if style != "spaces kept":
        decoders.append(strip)
    return {
        "normalizer": normalizer,
        "pre_tokenizer": pretokenizer,
        "decoder": {"type": "Sequence", "decoders": decoders},
    }
