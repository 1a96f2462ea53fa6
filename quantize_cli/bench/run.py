"""Speed of running a model: a prompt read, and tokens generated after it, one at a time.

Turns alternate between ours, llama.cpp's and plain memory, and each figure is the median of its turns, so that what
else the machine does falls on all alike. The prompt is of random tokens, the same for both, which no speed depends on
but that of a mixture of experts; generation continues it by the likeliest tokens, past any that ends a text.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from quantize_cli.bench import work
from quantize_cli.bench.bandwidth import Memory
from quantize_cli.bench.llama import Llama
from quantize_cli.errors import InputError
from quantize_cli.evaluation.evaluated_model import EvaluatedModel
from quantize_cli.evaluation.memory import peak_of
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.model.source import open_model
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.generation import predict_after
from quantize_cli.runtime.sampler import greedy
from quantize_cli.runtime.transformer import Transformer, from_model


@dataclass(frozen=True)
class Request:
    """What to measure."""

    path: Path
    prompt: int
    """Tokens of the prompt."""
    tokens: int
    """Tokens to generate."""
    turns: int
    threads: int


@dataclass(frozen=True)
class Rate:
    """So much a second: the median of the turns, the slowest and the fastest."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Speed:
    """How fast one engine is, in tokens."""

    prompt: Rate
    generation: Rate


@dataclass(frozen=True)
class RunSpeed:
    """What was measured of one model."""

    ours: Speed
    llama: Speed | None
    """llama.cpp's, or None for the reason that `llama_missing` is."""
    llama_missing: str | None
    work: work.Work
    nbytes: int
    """Of the file."""
    peak_nbytes: int | None
    """Largest resident size of a process that only reads the prompt and generates; None if it ended early."""
    read_nbytes: Rate
    """Bytes a second that as many threads read of plain memory."""
    copied_nbytes: Rate
    """Bytes a second they read and write copying it."""

    @property
    def generation_nbytes(self) -> float:
        """Bytes of weights read a second while generating."""
        return self.ours.generation.median * self.work.token_nbytes

    @property
    def read_share(self) -> float:
        """Of the bytes that can be read."""
        return self.generation_nbytes / self.read_nbytes.median


class Engine(Protocol):
    """What reads a text and says what follows."""

    def prompt(self, tokens: np.ndarray) -> int:
        """Read tokens (n,) from the beginning; gives the likeliest one to follow."""

    def step(self, token: int) -> int:
        """Read one token more; gives the likeliest one to follow."""


class Ours:
    """The runtime, with a cache kept from text to text."""

    def __init__(self, transformer: Transformer, capacity: int) -> None:
        self._transformer = transformer
        self._cache = Cache(transformer.hyperparameters, capacity)

    def prompt(self, tokens: np.ndarray) -> int:
        self._cache.rewind(0)
        return greedy(predict_after(self._transformer, tokens, self._cache))

    def step(self, token: int) -> int:
        return greedy(self._transformer.predict(np.array([token]), self._cache))


def measure(request: Request, advance: Callable[[int], None]) -> RunSpeed:
    """The speed of a model; `advance` is called after each turn. InputError when the runtime cannot run it."""
    model = open_model(request.path)
    subject = EvaluatedModel(request.path, model, from_model(model, request.threads))
    _refuse_too_long(request, subject.transformer)
    prompt = np.random.default_rng(0).integers(subject.vocabulary, size=request.prompt)
    ours = Ours(subject.transformer, request.prompt + request.tokens)
    generated(ours, prompt, 1)
    # By now the kernels are compiled, which takes memory that running does not.
    peak = peak_of(_generate, request, prompt)
    llama, missing = _llama(request)
    engines: list[Engine] = [ours] if llama is None else [ours, llama]
    for engine in engines:
        generated(engine, prompt, 1)
    memory, spent = Memory(request.threads), _Spent(len(engines))
    for _ in range(request.turns):
        spent.turn(engines, prompt, request.tokens, memory)
        advance(1)
    speeds = [
        Speed(_rate(request.prompt, prompts), _rate(request.tokens, generations))
        for prompts, generations in zip(spent.prompts, spent.generations, strict=True)
    ]
    return RunSpeed(
        ours=speeds[0],
        llama=None if llama is None else speeds[1],
        llama_missing=missing,
        work=work.count(subject.transformer),
        nbytes=subject.nbytes,
        peak_nbytes=peak,
        read_nbytes=_rate(memory.nbytes, spent.readings),
        copied_nbytes=_rate(2 * memory.nbytes, spent.copies),
    )


def generated(engine: Engine, prompt: np.ndarray, count: int) -> list[int]:
    """The likeliest tokens after a prompt: one for its end, and one for each of `count` that are read after it."""
    tokens = [engine.prompt(prompt)]
    for _ in range(count):
        tokens.append(engine.step(tokens[-1]))
    return tokens


def _refuse_too_long(request: Request, transformer: Transformer) -> None:
    """InputError at once for what would fail late, and would end the process inside llama.cpp."""
    if transformer.positions is None:
        return
    room, needed = transformer.positions.tensor.row_count, request.prompt + request.tokens
    if needed > room:
        raise InputError(f"{request.path}: the model has {room} positions, prompt and tokens are {needed}")


def _llama(request: Request) -> tuple[Llama | None, str | None]:
    """llama.cpp with the model loaded, or why it is not there."""
    if not is_gguf(request.path):
        return None, "llama.cpp runs .gguf files alone"
    try:
        return Llama(request.path, request.prompt + request.tokens, request.threads), None
    except InputError as error:
        return None, str(error)


def _generate(request: Request, prompt: np.ndarray) -> None:
    """What is measured, once, and nothing else."""
    transformer = from_model(open_model(request.path), request.threads)
    generated(Ours(transformer, request.prompt + request.tokens), prompt, request.tokens)


class _Spent:
    """Seconds of each turn: of each engine's prompts and generations, and of memory read and copied."""

    def __init__(self, engines: int) -> None:
        self.prompts: list[list[float]] = [[] for _ in range(engines)]
        self.generations: list[list[float]] = [[] for _ in range(engines)]
        self.readings: list[float] = []
        self.copies: list[float] = []

    def turn(self, engines: Sequence[Engine], prompt: np.ndarray, count: int, memory: Memory) -> None:
        latest = []
        for engine, seconds in zip(engines, self.prompts, strict=True):
            with _timed(seconds):
                latest.append(engine.prompt(prompt))
        for engine, token, seconds in zip(engines, latest, self.generations, strict=True):
            with _timed(seconds):
                for _ in range(count):
                    token = engine.step(token)
        with _timed(self.readings):
            memory.read()
        with _timed(self.copies):
            memory.copy()


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - start)


def _rate(amount: float, seconds: list[float]) -> Rate:
    return Rate(amount / statistics.median(seconds), amount / max(seconds), amount / min(seconds))
