"""Tokens that end a generation (EOG): those that llama.cpp knows by key or by text, and the keys for the others.

A GGUF file has one key each for the end of a text (eos), of a turn (eot) and of a message (eom). llama.cpp also stops
at tokens with certain texts, whatever the file says (llama-vocab.cpp). Further end tokens go under our own key
`tokenizer.ggml.eog_token_ids`: our runtime stops there, llama.cpp ignores the key.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, USER_DEFINED

EOG_IDS_KEY = "eog_token_ids"
DEFAULT_EOS = {"llama": 2, "gpt2": 11, "bert": 102, "t5": 1}
"""By kind of tokenizer, llama.cpp's default for the end of a text; of BERT's, what separates two."""

_TURN_ENDS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"),
    *("<EOT>", "_<EOT>", "[EOT]", "<end_of_utterance>", "<turn|>"),
)
_MESSAGE_ENDS = ("<|eom_id|>",)
EOG_TEXTS = (
    *(*_TURN_ENDS, *_MESSAGE_ENDS, "</s>", "[EOS]", "<eos>", "<｜end▁of▁sentence｜>", "[e~[", "<|tool_response>"),
    *("<|return|>", "<|call|>", "<|flush|>", "<|calls|>"),
)
"""Texts of tokens that end a generation, whatever their type in the file."""
_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<｜end▁of▁sentence｜>", *_TURN_ENDS)
"""Texts that may end a text where no file names the EOS token, the most likely first."""

_INFILL = {
    "fim_pre": (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"),
        *("<|code_prefix|>", "<|prefix|>"),
    ),
    "fim_suf": (
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"),
        *("<|code_suffix|>", "<|suffix|>"),
    ),
    "fim_mid": (
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"),
        *("<|code_middle|>", "<|middle|>"),
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
"""Tokens of infilling (FIM): llama.cpp finds each by its key or, without the key, by these texts."""
_INFILL_ENDS = ("fim_pad", "fim_rep", "fim_sep")
_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
"""Tokens within a message of gpt-oss, which are printed whatever their type in the file."""
_RETURN, _CALL, _FLUSH = ("<|return|>",), ("<|call|>", "<|calls|>"), ("<|flush|>",)
_NO_ENDS = (
    ("<|end|>", USER_DEFINED, ((_RETURN, _CALL), (_CALL, _FLUSH))),
    ("</s>", NORMAL, ((("<|tool_response>", "<|plamo:eos|>"),),)),
)
"""A text, its type, and lists of groups: it ends nothing if each group of any list has an end token."""


ROLES = ("eos", "eot", "eom", *_INFILL)
"""Roles whose keys decide where a generation ends."""


class EogTokens(NamedTuple):
    """The end tokens that llama.cpp finds in a vocabulary."""

    retyped: dict[int, int]
    """By token, the type that llama.cpp gives it, whatever the file says."""
    ends: frozenset[int]


def llama_cpp_eog_tokens(ids: Mapping[str, int], keyed: Mapping[str, int]) -> EogTokens:
    """The end tokens of a vocabulary: `ids` by text, and `keyed` ids by role."""
    control = {ids[text] for text in EOG_TEXTS if text in ids}
    ends = control | {keyed[role] for role in ("eos", "eot", "eom") if role in keyed}
    for role, texts in _INFILL.items():
        by_text = set() if role in keyed else {ids[text] for text in texts if text in ids}
        control |= by_text
        if role in _INFILL_ENDS:
            ends |= {keyed[role]} if role in keyed else by_text
    retyped = dict.fromkeys(control, CONTROL) | {ids[text]: USER_DEFINED for text in _SHOWN if text in ids}
    for text, type_, alternatives in _NO_ENDS:
        ending = [[any(ids.get(mark) in ends for mark in group) for group in groups] for groups in alternatives]
        if ids.get(text) in ends and any(map(all, ending)):
            ends.remove(ids[text])
            retyped[ids[text]] = type_
    return EogTokens(retyped, frozenset(ends))


def likeliest_end(ids: Mapping[str, int]) -> int | None:
    """The token whose text usually ends a text; None without one."""
    return next((ids[text] for text in _TEXT_ENDS if text in ids), None)


class EndKeys(NamedTuple):
    """The end tokens of a checkpoint and their keys."""

    roles: dict[str, int]
    """The end of a text ("eos"), of a turn ("eot") and of a message ("eom"), as far as they exist."""
    more: list[int]
    """Tokens at which llama.cpp does not stop: no key is left for them, and it does not know their texts as ends."""


def assign_end_keys(ends: Sequence[int], ids: Mapping[str, int], taken_roles: Mapping[str, int]) -> EndKeys:
    """The keys of end tokens, the first of which is EOS; `taken_roles` are keys already in use.

    Tokens that llama.cpp finds by their texts get a key only when all others have one.
    """
    recognized = llama_cpp_eog_tokens(ids, {"eos": ends[0]}).ends
    cancelled = [ids[text] for text, _, _ in _NO_ENDS if text in ids and ids[text] not in recognized]
    roles = {"eos": ends[0], **taken_roles}
    rest = [token for token in ends if token not in roles.values()]
    nameless = [token for token in rest if token not in recognized and token not in cancelled]
    for role, texts in (("eom", _MESSAGE_ENDS), ("eot", _TURN_ENDS)):
        named = [token for token in rest if token in recognized and token in (ids.get(text) for text in texts)]
        if named and role not in roles and sum(other not in roles for other in ("eot", "eom")) > len(nameless):
            roles[role] = named[0]
    for role in ("eot", "eom"):
        if role not in roles and nameless:
            roles[role] = nameless.pop(0)
    return EndKeys(roles, nameless + [token for token in cancelled if token in rest])
