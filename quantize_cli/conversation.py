"""A conversation with a chat model: messages rendered by its template, replies kept."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from quantize_cli.errors import InputError
from quantize_cli.loaded_model import Continuation, LoadedModel
from quantize_cli.model.chat_templates import chat_template, render
from quantize_cli.runtime.detokenizer import StreamingDetokenizer
from quantize_cli.runtime.generation import GeneratedText
from quantize_cli.runtime.hyperparameters import longest_context
from quantize_cli.runtime.only_run import refuse_encoder
from quantize_cli.runtime.sampler import Sampler, Sampling
from quantize_cli.tokenizers import Tokenizer

_CONTEXT = 4096
"""Tokens a conversation may have by default."""


@dataclass(frozen=True)
class ChatModel:
    """What speaks, and for how long."""

    tokenizer: Tokenizer
    template: str
    text: GeneratedText
    sampler: Sampler
    stops: Sequence[str]
    tokens: int
    """The most tokens of a reply; 0 for as many as fit."""


@dataclass(frozen=True)
class ChatTurn:
    """A message and its reply."""

    prompt: str
    prompt_tokens: int
    """Tokens the model read: the whole conversation so far, laid out by its template."""
    tokens: list[int]
    text: str
    ended_by: str


class Conversation:
    """Messages so far; a reply continues them."""

    def __init__(self, voice: ChatModel, system: str | None) -> None:
        self._voice = voice
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self._messages = list(self._system)
        self.turns: list[ChatTurn] = []

    def clear(self) -> None:
        """Forget everything but the system message."""
        self._messages = list(self._system)

    @property
    def full(self) -> bool:
        """Whether the last reply took the last room there was."""
        last = self.turns[-1]
        return last.prompt_tokens + len(last.tokens) >= self._voice.text.capacity

    def reply(self, prompt: str) -> Generator[str, None, None]:
        """Yield what the model answers, piece by piece; both are kept as far as it got.

        InputError when the conversation leaves no room for a reply.
        """
        voice = self._voice
        messages = [*self._messages, {"role": "user", "content": prompt}]
        ids = _encoded(voice, messages)
        room = voice.text.capacity - len(ids)
        if room < 1:
            raise InputError(
                f"the conversation is {len(ids)} tokens long, its context holds {voice.text.capacity}",
                hint="/clear begins anew; --ctx makes more room",
            )
        limit = min(voice.tokens or room, room)
        voice.sampler.accept(ids)
        chosen = voice.text.continued(ids, limit, voice.tokenizer.end_ids, voice.sampler)
        speech = StreamingDetokenizer(
            voice.tokenizer.decode_bytes, voice.stops, drop=" " if voice.tokenizer.adds_space else ""
        )
        reply = Continuation(ids, chosen, limit, speech)
        try:
            yield from reply
        finally:
            self._messages = [*messages, {"role": "assistant", "content": reply.text}]
            self.turns.append(ChatTurn(prompt, len(ids), reply.tokens, reply.text, reply.ended_by))


def chat_model(
    model: LoadedModel, sampling: Sampling, context: int | None = None, stops: Sequence[str] = (), tokens: int = 0
) -> ChatModel:
    """A model ready to speak, within `context` tokens; InputError without a chat template, and for an encoder."""
    refuse_encoder(model.source)
    template = chat_template(model.source.metadata, model.path)
    text = GeneratedText(model.transformer, capacity(model, context))
    model.transformer.prepare(model.report.note)
    return ChatModel(model.tokenizer, template, text, Sampler(sampling), stops, tokens)


def capacity(model: LoadedModel, context: int | None) -> int:
    """Tokens a conversation may have: `context`, 0 for all that the model was trained on, never more."""
    trained = longest_context(model.source)
    if context is not None and context > trained:
        model.report.warn(f"--ctx {context}: the model was trained on {trained}, a conversation cannot have more")
    return min(_CONTEXT if context is None else context or trained, trained)


def _encoded(voice: ChatModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The tokens of a conversation: markers come from the template, never from a message.

    A template may write the first of them, or leave it out.
    """
    tokenizer = voice.tokenizer
    special = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
    named = {
        name: "" if token is None else tokenizer.pieces[token].decode(errors="replace")
        for name, token in special.items()
    }
    shielded = [{**message, "content": tokenizer.escape_control_tokens(message["content"])} for message in messages]
    ids = tokenizer.encode_escaped(render(voice.template, shielded, named))
    if tokenizer.adds_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
        ids = [tokenizer.bos_id, *ids]
    if not ids:
        raise InputError("the chat template gives no text")
    return ids
