"""The parts of a model's name: "org/Base-7B-Chat-v1.2" has organization, basename, size, finetune and version."""

import re
from dataclasses import dataclass

_VERSION = re.compile(r"(v|iter)?\d+([.]\d+)*", re.IGNORECASE)
_NUMBER_TYPE = re.compile(r"i?q\d(_\w)*|b?fp?(16|32)", re.IGNORECASE)
_SIZE = re.compile(r"((A|\d+x)?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl)", re.IGNORECASE)
_FINETUNE = re.compile(r"chat|instruct|vision|lora", re.IGNORECASE)
MAX_NAME_LENGTH = 255
"""Characters of the longest name that is split: no directory has a longer one."""
_KEEPS_CASE = re.compile(r"(v\d+(?:\.\d+)*|\d.*)")


@dataclass(frozen=True)
class ModelName:
    """The parts of a model's name; None for a missing part."""

    name: str | None = None
    organization: str | None = None
    basename: str | None = None
    finetune: str | None = None
    version: str | None = None
    size_label: str | None = None


def title(name: str) -> str:
    """A name as a heading: tiny-llama-1b-v1 is "Tiny Llama 1b v1". Versions and sizes keep their case."""
    words = name.strip().replace("-", " ").split()
    return " ".join(w.title() if w.islower() and not _KEEPS_CASE.fullmatch(w) else w for w in words)


def parse_model_name(model: str, parameter_count: int) -> ModelName:
    """The parts of a Hugging Face id or a directory's name (gguf-py's `Metadata.get_model_id_components`).

    A size far from `parameter_count` is a context length, which belongs to the finetune's name. A text longer than any
    id is not split.
    """
    if " " in model or len(model) > MAX_NAME_LENGTH:
        return ModelName(name=model)
    organization, slash, name = model.partition("/")
    if not slash:
        name = model
    known_organization = organization if slash and not organization.startswith(".") else None
    words = [word for word in name.split("-") if word]
    kinds: list[set[str]] = []
    for position, word in enumerate(words):
        words[position], kind = _kind(word, position, parameter_count)
        kinds.append({kind} if kind else set())
    _drop_worded_sizes(words, kinds)
    _find_basename(words, kinds)
    return _assemble(name, known_organization, words, kinds)


def _kind(word: str, position: int, parameter_count: int) -> tuple[str, str]:
    """One word in its usual spelling, and its kind: version, type, size_label, finetune, or "" for unknown."""
    if _VERSION.fullmatch(word):
        return word, "version"
    if _NUMBER_TYPE.fullmatch(word):
        return word.upper(), "type"
    if position and _SIZE.fullmatch(word):
        return _size(word, parameter_count)
    if position and _FINETUNE.fullmatch(word):
        return word, "finetune"
    return word, ""


def _size(word: str, parameter_count: int) -> tuple[str, str]:
    word = word.replace("_", ".")
    if word[-1].isdecimal():
        # bloom-7b1 is 7.1b
        word = f"{word[:-2]}.{word[-1]}{word[-2]}"
    if len(word) > 1 and word[-2].isdecimal() and word[-1] in "kmbt":
        word = word[:-1] + word[-1].upper()
    try:
        claimed = float(word[:-1]) * pow(1000, " KMBT".find(word[-1]))
    except ValueError:
        # "large", "8x7B": no number to compare.
        return word, "size_label"
    if parameter_count and abs(claimed - parameter_count) > 7 * parameter_count // 8:
        return word[:-1] + word[-1].lower(), "finetune"
    return word, "size_label"


def _drop_worded_sizes(words: list[str], kinds: list[set[str]]) -> None:
    """Beside a size with a number, words such as "large" are no sizes."""
    sizes = [word for word, kind in zip(words, kinds, strict=True) if "size_label" in kind]
    if any(character.isdecimal() for word in sizes for character in word):
        for word, kind in zip(words, kinds, strict=True):
            if "size_label" in kind and word.isalpha():
                kind.discard("size_label")


def _find_basename(words: list[str], kinds: list[set[str]]) -> None:
    """The leading words and versions are the basename, without the versions at its end."""
    leading = True
    for word, kind in zip(words, kinds, strict=True):
        leading = leading and ((not kind and word[0].isalpha()) or "version" in kind)
        if leading:
            kind.add("basename")
        elif not kind:
            kind.add("finetune")
    for kind in reversed(kinds):
        if "basename" not in kind or len(kind) == 1:
            break
        kind.discard("basename")


def _assemble(name: str, organization: str | None, words: list[str], kinds: list[set[str]]) -> ModelName:
    def joined(part: str, unless: str = "") -> str | None:
        selected = [w for w, kind in zip(words, kinds, strict=True) if part in kind and unless not in kind]
        return "-".join(dict.fromkeys(selected) if part == "size_label" else selected) or None

    finetune, version, size_label = joined("finetune"), joined("version", unless="basename"), joined("size_label")
    # A name without any other part is not split.
    basename = joined("basename") if finetune or version or size_label else None
    return ModelName(name, organization, basename, finetune, version, size_label)
