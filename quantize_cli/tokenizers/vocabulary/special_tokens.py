"""Special tokens: their ids, whether they are added to a text, and the chat templates that use them.

Files count in the order of llama.cpp's converter (gguf-py's `SpecialVocab`): the post-processor of tokenizer.json, then
tokenizer_config.json, then config.json. The converter writes only the first end token; we keep those of all files, and
of generation_config.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, flag, u32
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary import end_tokens
from quantize_cli.tokenizers.vocabulary.chat_template_files import chat_templates, template_warnings
from quantize_cli.tokenizers.vocabulary.configured_ids import configured_ids

_ROLES = ("bos", "eos", "unk", "sep", "pad", "mask")
_KEY_NAMES = {"unk": "unknown", "sep": "seperator", "pad": "padding"}
_ID_KEYS = {role: f"{_KEY_NAMES.get(role, role)}_token_id" for role in (*_ROLES, "eot", "eom")}
_ADDABLE = ("bos", "eos", "sep")
_SHOWN_ENDS = 4


@dataclass
class _SpecialTokens:
    """Texts and flags; the post-processor may correct those of tokenizer_config.json."""

    tokens: dict[str, str]
    """By kind, the token's text."""
    added: dict[str, bool] = field(default_factory=dict)
    """By kind, whether encoding adds it to a text."""


def token_text(entry: Any) -> str | None:
    """A token's text, from a string or from an object with flags."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def listed_added_tokens(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The entries of `added_tokens` in a tokenizer.json."""
    listed = (document or {}).get("added_tokens")
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def looks_special(token: str) -> bool:
    """Whether a token looks special: some models do not mark them (command-r, deepseek-coder, gemma)."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def special_metadata(checkpoint: Checkpoint, texts: Sequence[str], model: str) -> dict[str, Value]:
    """The `tokenizer.ggml.*_token_id`, `add_*_token` and `tokenizer.chat_template*` keys of a vocabulary, by id.

    `model` is llama.cpp's name for the kind of tokenizer. Unlike its converter we write the end tokens of all files,
    and no id beyond the vocabulary. FormatError when a file is invalid.
    """
    document = checkpoint.json("tokenizer.json") or {}
    config = checkpoint.json("tokenizer_config.json")
    special = _SpecialTokens(_tokens_of(config or {}))
    if document:
        _apply_post_processor(document.get("post_processor"), special)
    named: dict[str, int] = {}
    if config:
        named = _ids_of(special.tokens, listed_added_tokens(document), len(texts))
        for kind in _ADDABLE:
            if isinstance(config.get(f"add_{kind}_token"), bool):
                special.added.setdefault(kind, config[f"add_{kind}_token"])
    configured = configured_ids(checkpoint, _ROLES, len(texts))
    ends = _ends(special.tokens, named, configured.ends, texts, end_tokens.DEFAULT_EOS[model])
    ids = {**configured.first, **named, **ends.roles}
    keys = {f"tokenizer.ggml.{key}": u32(ids[kind]) for kind, key in _ID_KEYS.items() if kind in ids}
    if ends.more:
        keys[f"tokenizer.ggml.{end_tokens.EOG_IDS_KEY}"] = array(ValueType.UINT32, ends.more)
    for kind, truth in special.added.items():
        keys[f"tokenizer.ggml.add_{kind}_token"] = flag(truth)
    return {**keys, **chat_templates(checkpoint), **_normalizer(document.get("normalizer"))}


def special_warnings(checkpoint: Checkpoint, metadata: Mapping[str, Value]) -> tuple[str, ...]:
    """Warnings about the special tokens of a checkpoint, and about the keys that `special_metadata` wrote."""
    texts: Sequence[str] = metadata["tokenizer.ggml.tokens"].data
    warnings = configured_ids(checkpoint, _ROLES, len(texts)).warnings
    more = metadata.get(f"tokenizer.ggml.{end_tokens.EOG_IDS_KEY}")
    if more is not None:
        named = ", ".join(f"{token} {quoted(texts[token])}" for token in more.data[:_SHOWN_ENDS])
        others = f" and {len(more.data) - _SHOWN_ENDS} more" if len(more.data) > _SHOWN_ENDS else ""
        warnings.append(
            f"{checkpoint.directory}: a gguf file has no key for the end tokens {named}{others}: "
            "quantize ends texts there, llama.cpp does not"
        )
    eos = end_tokens.DEFAULT_EOS[str(metadata["tokenizer.ggml.model"].data)]
    is_known = eos >= len(texts) or texts[eos] in end_tokens.EOG_TEXTS
    if "tokenizer.ggml.eos_token_id" not in metadata and not is_known:
        warnings.append(
            f"{checkpoint.directory}: no file says which token ends a text, so engines take token {eos}, "
            f"{quoted(texts[eos])}"
        )
    return (*warnings, *template_warnings(checkpoint))


def _ends(
    tokens: Mapping[str, str], named: Mapping[str, int], listed: Sequence[int], texts: Sequence[str], engine_eos: int
) -> end_tokens.EndKeys:
    """The end tokens by key: first that of the tokenizer, then those of the model's configuration."""
    ids = {text: token for token, text in enumerate(texts)}
    own = {kind: named.get(kind, ids.get(tokens.get(kind, ""))) for kind in ("eos", "eot", "eom")}
    if not listed and "eos" not in named:
        engine_knows = engine_eos < len(texts) and texts[engine_eos] in end_tokens.EOG_TEXTS
        eos = own["eos"] if own["eos"] is not None else None if engine_knows else end_tokens.likeliest_end(ids)
        return end_tokens.EndKeys({} if eos is None or eos == engine_eos else {"eos": eos}, [])
    ends = dict.fromkeys(token for token in (own["eos"], *listed, own["eot"], own["eom"]) if token is not None)
    return end_tokens.assign_end_keys(list(ends), ids, {kind: named[kind] for kind in ("eot", "eom") if kind in named})


def _tokens_of(config: Mapping[str, Any]) -> dict[str, str]:
    texts = {kind: token_text(config.get(f"{kind}_token")) for kind in (*_ROLES, "cls")}
    tokens = {kind: token for kind, token in texts.items() if token}
    # Encoders call their first and last token cls and sep.
    for kind, substitute in (("bos", "cls"), ("eos", "sep")):
        if kind not in tokens and substitute in tokens:
            tokens[kind] = tokens[substitute]
    return tokens


def _ids_of(tokens: Mapping[str, str], added: Sequence[dict[str, Any]], vocabulary: int) -> dict[str, int]:
    """By kind, the ids of those tokens that tokenizer.json lists as added."""
    ids: dict[str | None, int] = {}
    for entry in added:
        if type(entry.get("id")) is int and 0 <= entry["id"] < vocabulary:
            ids.setdefault(token_text(entry), entry["id"])
    return {kind: ids[token] for kind, token in tokens.items() if token in ids and kind in _ID_KEYS}


def _apply_post_processor(processor: Any, special: _SpecialTokens) -> None:
    if not isinstance(processor, dict):
        return
    parts = processor.get("processors", [processor])
    for part in parts if isinstance(parts, list) else []:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "ByteLevel":
            special.added.setdefault("bos", False)
            special.added.setdefault("eos", False)
        elif kind == "RobertaProcessing":
            special.added.update(bos=True, eos=True, sep=True)
            for role in ("cls", "sep"):
                entry = part.get(role)
                if isinstance(entry, list) and entry and isinstance(entry[0], str):
                    special.tokens.setdefault(role, entry[0])
        elif kind == "TemplateProcessing":
            _apply_template(part, special)


def _apply_template(part: Mapping[str, Any], special: _SpecialTokens) -> None:
    """The tokens that a template like `<s> $A </s>` adds around one text, and between two."""
    tokens = special.tokens
    single = list(_entries(part.get("single")))
    first, last = (_marker(single[0]), _marker(single[-1])) if len(single) > 1 else ("", "")
    if first:
        if first not in (tokens.get("bos"), tokens.get("cls")):
            tokens.setdefault("bos", first)
            tokens.setdefault("cls", first)
        special.added["bos"] = first in (tokens.get("bos"), tokens.get("cls"))
    if last:
        if "eos" in tokens and last != tokens["eos"]:
            # The token that ends a turn is not the one that ends a text; both end generation.
            tokens["eot" if "eot" not in tokens else "eom"] = tokens["eos"]
        tokens["eos"] = last
        special.added["eos"] = True
    between = _between(list(_entries(part.get("pair"))), first, last)
    if between:
        separators = (tokens.get("sep"), tokens.get("eos"))
        leading = between[0] in separators and not last
        special.added["sep"] = leading or (len(between) == 2 and between[1] in separators)
        if special.added["sep"] and "eos" in tokens:
            tokens.setdefault("sep", tokens["eos"])


def _entries(template: Any) -> Iterator[tuple[str, str]]:
    """Each entry of a template as (kind, id): ("Sequence", "A"), ("SpecialToken", "<s>")."""
    for entry in template if isinstance(template, list) else []:
        for kind, described in entry.items() if isinstance(entry, dict) else []:
            name = described.get("id") if isinstance(described, dict) else None
            yield (kind, name) if isinstance(name, str) else (kind, "")


def _between(pair: list[tuple[str, str]], first: str, last: str) -> list[str]:
    """The tokens between two texts, without those that the template puts at the ends."""
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
    """The normalizer's changes for which GGUF has a key."""
    described = normalizer if isinstance(normalizer, dict) else {}
    parts = described.get("normalizers") if described.get("type") == "Sequence" else [described]
    keys: dict[str, Value] = {}
    for part in parts if isinstance(parts, list) else []:
        kind = part.get("type") if isinstance(part, dict) else None
        for name, key in (("Lowercase", "lowercase"), ("StripAccents", "strip_accents")):
            truth = kind == name or (part.get(key) if kind == "BertNormalizer" else None)
            if isinstance(truth, bool) and (truth or kind == "BertNormalizer"):
                keys[f"tokenizer.ggml.normalizer.{key}"] = flag(truth)
    return keys
