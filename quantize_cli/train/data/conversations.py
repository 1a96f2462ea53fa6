"""Conversations as tokens, of which only the assistant's count.

Which those are is read from what the model's chat template makes of parts of a conversation:

- An answer begins where the rendering of all messages before it, up to the assistant's next message, ends. The
  whole conversation's rendering must begin with that. A token that lies across the border belongs to the answer.
- It ends with the first token after its content after which the model generates nothing, such as <|im_end|>. Only a
  template can write one, as those in a message are escaped.
- Without such a token it ends where the rendering of the messages up to and with it ends.
- The whole conversation's rendering must begin with the latter too. Some templates render the last answer otherwise
  than those before it: then its content must stand in the whole as it was given, with such a token behind it.

What cannot be told so is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.model.chat_templates import Layout, render_all
from quantize_cli.tokenizers import Tokenizer
from quantize_cli.train.data.documents import Document
from quantize_cli.train.data.json_lines import Record

_RENDERED_AT_ONCE, _CHARACTERS_AT_ONCE = 1000, 4 << 20
_NOW = datetime(2025, 1, 1)
"""What a template that asks for the date is told, so that a training on the same lines is the same on any day."""
_HINT = "give each answer a line of its own, with the messages before it, or render the conversations as 'text'"


@dataclass(frozen=True)
class ChatFormat:
    """How a model lays out conversations."""

    tokenizer: Tokenizer
    template: str

    def documents(self, records: Sequence[Record]) -> Iterator[Document]:
        """The tokens of each conversation; InputError naming the line of one that cannot be told apart."""
        for some in _groups(records):
            layouts = [layout for record in some for layout in self._layouts(record)]
            texts = iter(self._rendered(layouts, some))
            for record in some:
                parts = [_Answer(content, next(texts), next(texts)) for content in self._contents(record)]
                yield self._document(record, next(texts), parts)

    def _contents(self, record: Record) -> list[str]:
        escape = self.tokenizer.escape_control_tokens
        return [escape(record.messages[index]["content"]).strip() for index in _answers(record)]

    def _layouts(self, record: Record) -> list[Layout]:
        """The messages before each answer and those up to it, then all of them."""
        escape = self.tokenizer.escape_control_tokens
        messages = [{**message, "content": escape(message["content"])} for message in record.messages]
        answers = _answers(record)
        if not answers:
            raise InputError(f"{record.origin} holds no message of the assistant to learn from", hint=_HINT)
        parts = [(Layout(messages[:index]), Layout(messages[: index + 1], prompts=False)) for index in answers]
        return [layout for part in parts for layout in part] + [Layout(messages, prompts=False)]

    def _rendered(self, layouts: Sequence[Layout], records: Sequence[Record]) -> list[str]:
        tokenizer = self.tokenizer
        special = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
        named = {
            name: "" if token is None else tokenizer.pieces[token].decode(errors="replace")
            for name, token in special.items()
        }
        try:
            return render_all(self.template, layouts, named, _NOW)
        except InputError as error:
            if len(records) == 1:
                raise InputError(f"{records[0].origin}: {error}", hint=error.hint) from error
        # One of many fails: each alone says which.
        return [text for record in records for text in self._rendered(self._layouts(record), [record])]

    def _document(self, record: Record, whole: str, answers: Sequence["_Answer"]) -> Document:
        tokens = self._tokens(whole)
        counted = np.zeros(tokens.size, bool)
        starts = [self._start(record, whole, tokens, answer.before) for answer in answers]
        following = [*(len(answer.before) for answer in answers[1:]), len(whole)]
        for number, (answer, start, limit) in enumerate(zip(answers, starts, following, strict=True), 1):
            stop = self._stop(answer, whole[:limit], tokens, start)
            if stop is None:
                raise InputError(
                    f"{record.origin}: the chat template renders answer {number} otherwise when messages follow, "
                    "and shows no end of it",
                    hint=_HINT,
                )
            if stop <= start:
                raise InputError(f"{record.origin}: the chat template leaves out answer {number}", hint=_HINT)
            counted[start:stop] = True
        return Document(tokens, counted)

    def _stop(self, answer: "_Answer", whole: str, tokens: np.ndarray, start: int) -> int | None:
        """The token after an answer, in a conversation that is cut off where the next answer begins."""
        is_prefix = whole.startswith(answer.through)
        end = whole.find(answer.content, len(answer.before), len(answer.through) if is_prefix else len(whole))
        if end < 0 and not is_prefix:
            return None
        content = start if end < 0 else _shared(tokens, self._tokens(whole[: end + len(answer.content)]))
        limit = _shared(tokens, self._tokens(answer.through if is_prefix else whole))
        ends = np.flatnonzero(np.isin(tokens[content:limit], list(self.tokenizer.end_ids)))
        if ends.size:
            return content + int(ends[0]) + 1
        return limit if is_prefix else None

    def _start(self, record: Record, whole: str, tokens: np.ndarray, before: str) -> int:
        """The first token of an answer, of which `before` is the prompt."""
        if not whole.startswith(before):
            raise InputError(
                f"{record.origin}: the chat template does not begin the conversation as it does before an answer",
                hint=_HINT,
            )
        return _shared(tokens, self._tokens(before))

    def _tokens(self, rendered: str) -> np.ndarray:
        """What the model reads; a template may write the token that begins a text, or leave it out."""
        tokenizer = self.tokenizer
        ids = tokenizer.encode_escaped(rendered)
        if tokenizer.adds_bos and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
            ids = [tokenizer.bos_id, *ids]
        return np.array(ids, np.int32)


@dataclass(frozen=True)
class _Answer:
    """A message of the assistant, and renderings of the messages before it and of those up to it."""

    content: str
    before: str
    through: str


def _answers(record: Record) -> list[int]:
    return [index for index, message in enumerate(record.messages) if message["role"] == "assistant"]


def _shared(tokens: np.ndarray, others: np.ndarray) -> int:
    """How many first tokens are the same."""
    size = min(tokens.size, others.size)
    differing = np.flatnonzero(tokens[:size] != others[:size])
    return int(differing[0]) if differing.size else size


def _groups(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Conversations that are rendered at once: starting a process costs more than rendering most of them."""
    group: list[Record] = []
    rendered = characters = 0
    for record in records:
        texts = 2 * len(_answers(record)) + 1
        size = texts * sum(len(message["content"]) for message in record.messages)
        if group and (rendered + texts > _RENDERED_AT_ONCE or characters + size > _CHARACTERS_AT_ONCE):
            yield group
            group, rendered, characters = [], 0, 0
        group.append(record)
        rendered, characters = rendered + texts, characters + size
    if group:
        yield group
