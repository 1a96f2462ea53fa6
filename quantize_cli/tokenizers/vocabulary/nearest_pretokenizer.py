"""Names a pre-tokenizer that llama.cpp does not know after one that gives the same tokens for our texts."""

from collections.abc import Iterator, Mapping
from operator import ne
from typing import Any

from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.added_tokens import backend_encode
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import SUPPORTED
from quantize_cli.tokenizers.vocabulary.pretokenizer import LLAMA_CPP, Pretokenizer, patterns_of
from quantize_cli.tokenizers.vocabulary.sample_texts import TEXTS

_CANDIDATES = ("gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "smollm", "tekken", "gpt-4o", "qwen35")
"""One name for each way of splitting; the first that fits is used."""
_OWN_TOKENS = 200


def name_by_texts(document: Mapping[str, Any], tokenizer: Backend, source: str) -> tuple[str, str]:
    """The name, and a warning; `document` is the tokenizer.json of `tokenizer`.

    InputError when no name fits, or the vocabulary does not use GPT-2's letters for bytes.
    """
    if not any("ByteLevel" in str(document.get(part)) for part in ("pre_tokenizer", "decoder")):
        raise InputError(f"{source}: a BPE model that is neither byte-level nor has byte fallback", hint=SUPPORTED)
    description = _described(document.get("pre_tokenizer"))
    own = _plain(tokenizer)
    own.pre_tokenizer = tokenizer.pre_tokenizer
    texts = tuple(_texts(tokenizer))
    expected = list(map(backend_encode(own), texts))
    differing = {name: _differing(name, tokenizer, texts, expected) for name in _CANDIDATES}
    best = min(differing, key=lambda name: differing[name])
    if differing[best]:
        raise InputError(
            f"{source}: llama.cpp has no name for this pre-tokenizer, which {description}",
            hint=f"known are those of GPT-2, Llama 3, Qwen 2, SmolLM, Mistral Nemo, and GPT-4o; the nearest is "
            f"{best}, which splits {differing[best]} of {len(texts)} built-in texts differently",
        )
    warning = (
        f"{source}: llama.cpp has no name for this pre-tokenizer, which {description}; it is called {best}, "
        f"which gives the same tokens for all of {len(texts)} built-in texts"
    )
    return best, warning


def _described(pretokenizer: Any) -> str:
    """What the pre-tokenizer does, for a message."""
    cuts = " then ".join(quoted(cut) for cut in patterns_of(pretokenizer)[0])
    first = "puts a space first and " if "'add_prefix_space': True" in str(pretokenizer) else ""
    return f"{first}cuts by {cuts}" if cuts else f"{first}does not cut"


def _differing(name: str, tokenizer: Backend, texts: tuple[str, ...], expected: list[list[int]]) -> int:
    """How many texts have other tokens with the pre-tokenizer of this name."""
    if LLAMA_CPP[name].ignores_merges != tokenizer.model.ignore_merges:
        return len(texts)
    other = _plain(tokenizer)
    other.pre_tokenizer = backend_pretokenizer(LLAMA_CPP[name])
    return sum(map(ne, map(backend_encode(other), texts), expected))


def _plain(tokenizer: Backend) -> Backend:
    """The same vocabulary, merges and normalizer, without a pre-tokenizer."""
    backend = Backend(tokenizer.model)
    if tokenizer.normalizer is not None:
        backend.normalizer = tokenizer.normalizer
    return backend


def _texts(tokenizer: Backend) -> Iterator[str]:
    for texts in TEXTS.values():
        yield from texts
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    for token in range(0, size, max(1, size // _OWN_TOKENS)):
        yield "It is" + tokenizer.decode([token])


def backend_pretokenizer(cuts: Pretokenizer) -> pre_tokenizers.PreTokenizer:
    """llama.cpp's splits, then GPT-2's letters for bytes."""
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cuts.splits]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
