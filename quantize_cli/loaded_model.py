"""A model that runs on the CPU: text to tokens, tokens to logits, a prompt to the text that continues it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation.special_tokens import control_token_notice, count_control_tokens
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.source import Model, open_model
from quantize_cli.progress import SILENT, Report
from quantize_cli.runtime.detokenizer import StreamingDetokenizer
from quantize_cli.runtime.generation import generate
from quantize_cli.runtime.only_run import refuse_encoder
from quantize_cli.runtime.pooling import POOLINGS, normalized, pooled, pooling_of
from quantize_cli.runtime.sampler import Sampler, Sampling
from quantize_cli.runtime.transformer import Transformer, from_model
from quantize_cli.tokenizers import Tokenizer, load_tokenizer


class Continuation:
    """Text that a model writes, piece by piece while it is iterated over; what it wrote stays readable."""

    def __init__(
        self, prompt_tokens: list[int], chosen: Iterator[int], limit: int, speech: StreamingDetokenizer
    ) -> None:
        """`chosen` are the tokens that the model makes, at most `limit`; `speech` makes them text."""
        self._chosen, self._limit, self._speech = chosen, limit, speech
        self.prompt_tokens = prompt_tokens
        self.tokens: list[int] = []
        self.ended_by = "interrupt"
        """"end" for the model's own end, "stop" for a stop string, "length" for the limit; "interrupt" before that."""

    @property
    def text(self) -> str:
        """All pieces so far."""
        return self._speech.text

    def __iter__(self) -> Iterator[str]:
        try:
            for token in self._chosen:
                self.tokens.append(token)
                yield self._speech.take(token)
                if self._speech.stopped:
                    break
            self.ended_by = self._speech.ending(len(self.tokens) == self._limit)
            yield self._speech.finish()
        finally:
            self._speech.finish()


@dataclass(frozen=True)
class LoadedModel:
    """A model that runs on the CPU."""

    source: Model = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    transformer: Transformer = field(repr=False)
    report: Report = field(repr=False, default=SILENT)

    @property
    def path(self) -> Path:
        return self.source.path

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text, with the token that begins it; `special` reads control tokens out of the text."""
        return self.tokenizer.encode(text, parse_special=special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for."""
        return self.tokenizer.decode(list(tokens))

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """What the model predicts after each of n tokens, (n, vocabulary) f32; InputError for an encoder."""
        refuse_encoder(self.source)
        return self.transformer.logits(np.asarray(tokens, np.int32))

    def embed(
        self, texts: str | Sequence[str], *, pooling: str | None = None, normalize: bool = True, first: int = 1
    ) -> np.ndarray:
        """An embedding of each text, (texts, width) f32, of length one unless `normalize` is false.

        `pooling` is "mean", "cls" (the first token) or "last", by default what the file says; InputError where it does
        not, and for a text without tokens, or with more than the model has positions. Texts are counted from `first`.
        """
        pooling = pooling_of(self.source) if pooling is None else pooling
        if pooling not in POOLINGS:
            raise UsageError(f"pooling {quoted(pooling)} is not one of {', '.join(POOLINGS)}")
        listed = [texts] if isinstance(texts, str) else texts
        rows = np.empty((len(listed), self.transformer.hyperparameters.width), np.float32)
        self.transformer.prepare(self.report.note)
        for index, text in enumerate(listed):
            states = self.transformer.hidden(np.asarray(self._embeddable(text, first + index), np.int32))
            rows[index] = normalized(pooled(states, pooling)) if normalize else pooled(states, pooling)
        return rows

    def _embeddable(self, text: str, number: int) -> list[int]:
        """The tokens of a text, by its number for messages; InputError for none or too many."""
        ids, positions = self.tokenize(text), self.transformer.positions
        if not ids:
            raise InputError(f"text {number} is empty, and the vocabulary has no token to begin with")
        if positions is not None and len(ids) > positions.tensor.row_count:
            raise InputError(
                f"text {number} has {len(ids)} tokens, {self.path} has {positions.tensor.row_count} positions",
                hint="cut it into parts, and embed each",
            )
        return ids

    def generate(
        self,
        prompt: str,
        tokens: int = 128,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        special: bool = False,
        sampling: Sampling | None = None,
    ) -> Continuation:
        """The text that continues a prompt, as it is made: at most `tokens` more, up to a string of `stop`.

        Without a temperature the likeliest token is taken. `sampling` says more than temperature and seed, in their
        place; `special` reads control tokens out of the prompt. InputError for an empty prompt, and for an encoder.
        """
        refuse_encoder(self.source)
        sampler = Sampler(sampling or Sampling(temperature, seed=seed))
        ids = self._prompt(prompt, special)
        sampler.accept(ids)
        # The space that encoding puts first belongs to the prompt, or to what is made where the prompt has no text.
        drop = " " if self.tokenizer.adds_space and not self.detokenize(ids) else ""
        speech = StreamingDetokenizer(self.tokenizer.decode_bytes, stop, drop)
        self.transformer.prepare(self.report.note)
        chosen = generate(self.transformer, np.array(ids), tokens, self.tokenizer.end_ids, sampler)
        return Continuation(ids, chosen, tokens, speech)

    def _prompt(self, prompt: str, special: bool) -> list[int]:
        """The prompt's tokens; warns of control tokens that are read as letters."""
        ids = self.tokenize(prompt, special=special)
        if not ids:
            raise InputError(f"{self.path}: an empty prompt, and the vocabulary has no token to begin with")
        if not special and (markers := count_control_tokens(prompt, self.tokenizer)):
            self.report.warn(control_token_notice("the prompt", markers))
        return ids


def load(path: Path, threads: int | None = None, report: Report = SILENT) -> LoadedModel:
    """The model at `path`, a GGUF file or a float checkpoint, ready to run."""
    model = open_model(path)
    for warning in model.warnings:
        report.warn(warning)
    return LoadedModel(model, load_tokenizer(model.metadata), from_model(model, threads, embeds=True), report)
