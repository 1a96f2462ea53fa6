"""Pre-tokenizers: how byte-level BPE splits a text before it merges, and llama.cpp's names for the ways of splitting.

A GGUF file names the pre-tokenizer (`tokenizer.ggml.pre`). llama.cpp's converter finds the name by the hash of the
tokens of one test text, and knows only the vocabularies in its list. For an unknown hash we compare the patterns in
tokenizer.json, so that a fine-tune with added tokens still converts.
"""

import hashlib
from typing import Any, NamedTuple

_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_WHITESPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"


def _modern(digits: str, letters: str = r"\p{L}", punctuation: str = r"[^\s\p{L}\p{N}]+[\r\n]*") -> str:
    """GPT-4's pattern and its variants."""
    return rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?{letters}+|{digits}| ?{punctuation}|{_WHITESPACE}"


_LLAMA3 = _modern(r"\p{N}{1,3}")
_QWEN2 = _modern(r"\p{N}")
_QWEN35 = _modern(r"\p{N}", r"[\p{L}\p{M}]", r"[^\s\p{L}\p{M}\p{N}]+[\r\n]*")


def _cased(upper: str, lower: str, ending: str, digits: str) -> str:
    """GPT-4o's pattern: a word may begin with capitals and continue in lower case, but not return to capitals."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    words = f"{lead}{upper}*{lower}+{ending}|{lead}{upper}+{lower}*{ending}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_WHITESPACE}"


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = _cased(_UPPER, _LOWER, "", r"\p{N}")
_GPT4O = _cased(_UPPER, _LOWER, f"(?i:{_CONTRACTIONS})?", r"\p{N}{1,3}")
# llama.cpp has no \p{Lu}: any letter but a-z counts as upper case, any but A-Z as lower case.
_LLAMA_CPP_UPPER, _LLAMA_CPP_LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_LLAMA_CPP_TEKKEN = _cased(_LLAMA_CPP_UPPER, _LLAMA_CPP_LOWER, "", r"\p{N}")
_LLAMA_CPP_GPT4O = _cased(_LLAMA_CPP_UPPER, _LLAMA_CPP_LOWER, f"(?i:{_CONTRACTIONS})?", r"\p{N}{1,3}")


class Pretokenizer(NamedTuple):
    """What llama.cpp does under one name (llama-words.cpp)."""

    splits: tuple[str, ...]
    """Patterns, each of which splits the parts of the one before; text between its matches is a part too."""
    ignores_merges: bool = False
    """A part that is a token is that token, though no merges make it."""
    adds_bos: bool = False
    """Unless the file says otherwise."""


LLAMA_CPP: dict[str, Pretokenizer] = {
    "default": Pretokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(("gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4"), Pretokenizer((_GPT2,))),
    **dict.fromkeys(("roberta-bpe", "modern-bert"), Pretokenizer((_GPT2,))),
    **dict.fromkeys(("mpt", "olmo", "jais", "trillion"), Pretokenizer((_GPT2,))),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell", "minerva-7b"), Pretokenizer((r"\p{N}", _GPT2))),
    **dict.fromkeys(("llama-bpe", "falcon3", "pixtral", "midm-2.0", "lfm2"), Pretokenizer((_LLAMA3,), True, True)),
    **dict.fromkeys(("llama3", "llama-v3"), Pretokenizer((_LLAMA3,), True, True)),
    **dict.fromkeys(("smaug-bpe", "dbrx"), Pretokenizer((_LLAMA3,))),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2", "stablelm2"), Pretokenizer((_QWEN2,))),
    "qwen35": Pretokenizer((_QWEN35,)),
    "tekken": Pretokenizer((_LLAMA_CPP_TEKKEN,), True, True),
    "gpt-4o": Pretokenizer((_LLAMA_CPP_GPT4O,)),
}

_TEST_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅ 🦙🦙 "
    "3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ "
    "------======= нещо на Български ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, "
    "'RE you sure? 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)
_KNOWN = {
    "0fe1cf6eda062318a1af7270f3331a85c539a01778ff948e24388e949c5282f4": "gpt-2",
    "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454": "gpt-2",
    "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5": "llama-bpe",
    "c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d": "smaug-bpe",
    "9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e": "falcon3",
    "f6791d196f87ce6b56a7d234be618e0d58f8cda3549416635b2bebcd22cd95c4": "midm-2.0",
    "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249": "smollm",
    "35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34": "starcoder",
    "6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff": "refact",
    "1431a23e583c97432bc230bff598d103ddb5a1f89960c8f1d1051aaa944d0b35": "minerva-7b",
    "63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e": "tekken",
    "0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3": "pixtral",
    "d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c": "qwen2",
    "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea": "qwen2",
    "b3f499bb4255f8ca19fccd664443283318f2fd2414d5e0b040fbdd0cc195d6c5": "deepseek-r1-qwen",
    "d4c8f286ea6b520b3d495c4455483cfa2302c0cfcd4be05d781b6a8a0a7cdaf1": "megrez",
    "4a2e2abae11ca2b86d570fc5b44be4d5eb5e72cc8f22dd136a94b37da83ab665": "kormo",
    "862f827721df956049dff5ca81a57f29e575280bc622e290d3bf4e35eca29015": "f2llmv2",
    "b0a6b1c0bd5998ebd9df08611efde34a4ff03faed45ae09c43e6b31ebd4b94cf": "a.x-4.0",
    "ad851be1dba641f2e3711822f816db2c265f788b37c63b4e1aeacb9ee92de8eb": "gigachat",
    "a1e163ecab2e718a4c829d1148b6e86824ec36163bb71941c3dca9cd5ac25756": "mellum",
    "1994ffd01900cfb37395608534236ecd63f2bd5995d6cb1004dda1af50240f15": "trillion",
    "32d85c31273f8019248f2559fed492d929ea28b17e51d81d3bb36fff23ca72b3": "stablelm2",
    "ccc2ef013c104be7bae2965776d611e1d7a8a2a9c547dd93a682c9a9fc80352e": "gpt-4o",
    "d30d75d9059f1aa2c19359de71047b3ae408c70875e8a3ccf8c5fba56c9d8af4": "qwen35",
    "8b5a93ed704057481f240da0be7e7dca721d7f8f4755263b6807227a2cbeae65": "roberta-bpe",
    "a0b64b4385f123663873756336c085744376d015ff328bb1d901598f63c44152": "modern-bert",
    # Of WordPiece, where nothing depends on the name.
    "0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f": "jina-v2-en",
    "8e62295832751ca1e8f92f2226f403dea30dc5165e448b5bfa05af5340c64ec7": "bert-bge-large",
    # Only llama.cpp knows how these split: we write the names, and do not encode with them.
    "049ecf7629871e3041641907f3de7c733e4dbfdc736f57d882ba0b0845599754": "deepseek-llm",
    "347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821": "deepseek-coder",
    "877081d19cf6996e2c4ff0e1236341e9b7bde288f5311a56a937f0afbbb3aeb5": "deepseek-v3",
    "d5f1dd6f980fec569fb218a81a7658ac45fc56b38c5a0adeb1c232fbe04ef5ec": "seed-coder",
    "7fc505bd3104ca1083b150b17d088b59534ede9bde81f0dd2090967d7fe52cee": "viking",
    "c7ea5862a53e4272c035c8238367063e2b270d51faa48c0f09e9d5b54746c360": "poro-chat",
    "36f3066e97b7f3994b379aaacde306c1444c6ae84e81a5ae3cd2b7ed3b8c42d4": "minicpm5",
    "653660222fb704f61cbf2b618a8ae6502b7f8b20c980f9a5de07ed78e13319cd": "ufakzeka",
}
_STRUCTURES = {
    (_GPT2,): "gpt-2",
    ("digits", _GPT2): "smollm",
    (r"\p{N}", _GPT2): "smollm",
    (_LLAMA3,): "llama-bpe",
    (_QWEN2,): "qwen2",
    (_QWEN35,): "qwen35",
    (_TEKKEN,): "tekken",
    (_GPT4O,): "gpt-4o",
}


def name_by_hash(encode: Any) -> str | None:
    """The name by the hash of the ids that `encode(text)` gives for the test text; None for an unknown hash."""
    return _KNOWN.get(hashlib.sha256(str(encode(_TEST_TEXT)).encode()).hexdigest())


def is_known_pattern(pattern: str) -> bool:
    """Whether a regular expression is a known one, none of which takes exponential time."""
    return any(pattern in cuts for cuts in _STRUCTURES)


def name_by_structure(document: dict[str, Any]) -> str | None:
    """The name by the patterns in a tokenizer.json; None for unknown patterns."""
    model = document.get("model") or {}
    if document.get("pre_tokenizer") is None and not model.get("merges"):
        # All tokens are added ones, and nothing is ever split or merged.
        return "gpt-2"
    cuts, byte_level = patterns_of(document.get("pre_tokenizer"))
    name = _STRUCTURES.get(cuts) if byte_level else None
    if name == "llama-bpe" and not model.get("ignore_merges"):
        return "smaug-bpe"
    return name


def patterns_of(pretokenizer: Any) -> tuple[tuple[str, ...], bool]:
    """The patterns by which a pre-tokenizer splits, or the name of its kind, and whether it maps bytes to letters."""
    described = pretokenizer if isinstance(pretokenizer, dict) else {}
    kind = described.get("type")
    if kind == "Sequence" and isinstance(described.get("pretokenizers"), list):
        parts = [patterns_of(part) for part in described["pretokenizers"]]
        return tuple(cut for cuts, _ in parts for cut in cuts), any(byte_level for _, byte_level in parts)
    if kind == "ByteLevel":
        return (_GPT2,) if described.get("use_regex", True) else (), not described.get("add_prefix_space")
    if kind == "Digits" and described.get("individual_digits"):
        return ("digits",), False
    if kind == "Split" and not described.get("invert") and described.get("behavior") == "Isolated":
        pattern = described.get("pattern")
        return (str((pattern if isinstance(pattern, dict) else {}).get("Regex")),), False
    return (f"an unknown {kind}",), False
