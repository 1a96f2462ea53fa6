"""Special tokens: which ids they have, which are added to a text, and the chat templates that use them.

What the files say, in the order llama.cpp's converter believes them (gguf-py's `SpecialVocab`): the
post-processor of tokenizer.json, then tokenizer_config.json, then config.json.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, flag, u32
from quantize_cli.tokenizers._template import chat_templates

_ID_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
}
_ALWAYS = ("bos", "eos", "unk", "sep", "pad", "mask")
_ADDABLE = ("bos", "eos", "sep")


@dataclass
class _Findings:
    """What is known so far; the post-processor may correct what tokenizer_config.json states."""

    tokens: dict[str, str]
    """By kind, the token's text."""
    added: dict[str, bool] = field(default_factory=dict)
    """By kind, whether encoding a text adds it."""


def content(entry: Any) -> str | None:
    """A token's text, stated as text or as an object with flags."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def looks_special(token: str) -> bool:
    """Whether a token is a marker by its looks: some models forget to say so (command-r, deepseek-coder, gemma)."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def special_metadata(checkpoint: Checkpoint, vocabulary: int | None = None) -> dict[str, Value]:
    """The `tokenizer.ggml.*_token_id`, `add_*_token` and `tokenizer.chat_template*` keys.

    With `vocabulary` an id beyond it is left out. FormatError when a file is not what it promises.
    """
    document = checkpoint.json("tokenizer.json") or {}
    config = checkpoint.json("tokenizer_config.json")
    findings = _Findings(_stated_tokens(config or {}))
    if document:
        _heed_post_processor(document.get("post_processor"), findings)
    ids: dict[str, int] = {}
    templates: dict[str, Value] = {}
    if config:
        templates = chat_templates(checkpoint, config)
        ids = _ids_of(findings.tokens, document.get("added_tokens"))
        for kind in _ADDABLE:
            if isinstance(config.get(f"add_{kind}_token"), bool):
                findings.added.setdefault(kind, config[f"add_{kind}_token"])
    found: dict[str, Value] = {}
    for kind in (*_ALWAYS, *(kind for kind in ("eot", "eom") if kind in findings.tokens)):
        number = ids.get(kind, (checkpoint.config or {}).get(f"{kind}_token_id"))
        if isinstance(number, int) and 0 <= number < (1 << 32 if vocabulary is None else vocabulary):
            found[f"tokenizer.ggml.{_ID_KEYS[kind]}"] = u32(number)
    for kind, truth in findings.added.items():
        found[f"tokenizer.ggml.add_{kind}_token"] = flag(truth)
    return {**found, **templates, **_normalizer(document.get("normalizer"))}


def _stated_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    stated = {kind: content(config.get(f"{kind}_token")) for kind in (*_ALWAYS, "cls")}
    found = {kind: token for kind, token in stated.items() if token}
    # Encoders call their ends cls and sep.
    for kind, substitute in (("bos", "cls"), ("eos", "sep")):
        if kind not in found and substitute in found:
            found[kind] = found[substitute]
    return found


def _ids_of(tokens: Mapping[str, str], added: Any) -> dict[str, int]:
    """Ids by kind of those tokens that tokenizer.json adds to its vocabulary."""
    entries = [entry for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
    ids: dict[Any, Any] = {}
    for entry in entries:
        ids.setdefault(content(entry), entry.get("id"))
    return {kind: ids[token] for kind, token in tokens.items() if isinstance(ids.get(token), int)}


def _heed_post_processor(processor: Any, findings: _Findings) -> None:
    if not isinstance(processor, dict):
        return
    parts = processor.get("processors", [processor])
    for part in parts if isinstance(parts, list) else []:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "ByteLevel":
            findings.added.setdefault("bos", False)
            findings.added.setdefault("eos", False)
        elif kind == "RobertaProcessing":
            findings.added.update(bos=True, eos=True, sep=True)
        elif kind == "TemplateProcessing":
            _heed_template(part, findings)


def _heed_template(part: Mapping[str, Any], findings: _Findings) -> None:
    """What a template like `<s> $A </s>` adds at the ends of one text, and between two."""
    tokens = findings.tokens
    single = list(_entries(part.get("single")))
    first, last = (_marker(single[0]), _marker(single[-1])) if len(single) > 1 else ("", "")
    if first:
        if first not in (tokens.get("bos"), tokens.get("cls")):
            tokens.setdefault("bos", first)
            tokens.setdefault("cls", first)
        findings.added["bos"] = first in (tokens.get("bos"), tokens.get("cls"))
    if last:
        if "eos" in tokens and last != tokens["eos"]:
            # The token that ends a turn is not the one that ends a text; both end generation.
            tokens["eot" if "eot" not in tokens else "eom"] = tokens["eos"]
        tokens["eos"] = last
        findings.added["eos"] = True
    between = _between(list(_entries(part.get("pair"))), first, last)
    if between:
        separators = (tokens.get("sep"), tokens.get("eos"))
        leading = between[0] in separators and not last
        findings.added["sep"] = leading or (len(between) == 2 and between[1] in separators)
        if findings.added["sep"] and "eos" in tokens:
            tokens.setdefault("sep", tokens["eos"])


def _entries(template: Any) -> Iterator[tuple[str, str]]:
    """Each entry of a template as (kind, id): ("Sequence", "A"), ("SpecialToken", "<s>")."""
    for entry in template if isinstance(template, list) else []:
        for kind, described in entry.items() if isinstance(entry, dict) else []:
            name = described.get("id") if isinstance(described, dict) else None
            yield (kind, name) if isinstance(name, str) else (kind, "")


def _between(pair: list[tuple[str, str]], first: str, last: str) -> list[str]:
    """The tokens a template puts between two texts, once what it puts at the ends is taken away."""
    if pair and first and pair[0] == ("SpecialToken", first):
        pair = pair[1:]
    if pair and last and pair[-1] == ("SpecialToken", last):
        pair = pair[:-1]
    if len(pair) < 2 or pair[0] != ("Sequence", "A") or pair[-1] != ("Sequence", "B"):
        return []
    return [_marker(entry) for entry in pair[1:-1]]


def _marker(entry: tuple[str, str]) -> str:
    return entry[1] if entry[0] == "SpecialToken" else ""


def _normalizer(normalizer: Any) -> dict[str, Value]:
    """What the normalizer changes, where GGUF has a key for it."""
    described = normalizer if isinstance(normalizer, dict) else {}
    parts = described.get("normalizers") if described.get("type") == "Sequence" else [described]
    found: dict[str, Value] = {}
    for part in parts if isinstance(parts, list) else []:
        kind = part.get("type") if isinstance(part, dict) else None
        for name, key in (("Lowercase", "lowercase"), ("StripAccents", "strip_accents")):
            truth = kind == name or (part.get(key) if kind == "BertNormalizer" else None)
            if isinstance(truth, bool) and (truth or kind == "BertNormalizer"):
                found[f"tokenizer.ggml.normalizer.{key}"] = flag(truth)
    return found
