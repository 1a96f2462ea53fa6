"""A model rounded in the order in which it computes, each matrix for what the ones before it, rounded, really give it.

Two models walk over the calibration text side by side, the float one and the one that it becomes. Of each layer first
the inputs of queries, keys and values are looked at, and these rounded; then, with what they now give, the attention's
output matrix; then the feed-forward's two stages. So errors do not add up unseen, and no more than one layer's moments
are in memory.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

import numpy as np

from quantize_cli.calibration.statistics import embedding
from quantize_cli.calibration.statistics.inputs import Inputs, of_moments
from quantize_cli.calibration.statistics.layer_inputs import Collected
from quantize_cli.calibration.statistics.moments import Moments, Shown
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor, refuse_not_finite
from quantize_cli.pipeline.roles import role_of
from quantize_cli.quants import decode
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import Passage, Walk
from quantize_cli.runtime.matrix import release
from quantize_cli.runtime.parts import Parts, read_layer
from quantize_cli.runtime.recorder import applied
from quantize_cli.runtime.transformer import Transformer, from_model

_STAGES = (
    ("attention_query", "attention_key", "attention_value"),
    ("attention_output",),
    ("ffn_gate", "ffn_up"),
    ("ffn_down",),
)
"""Roles of the matrices of a layer, in the order in which they act."""
_ADDED = (_STAGES[1], _STAGES[3])
"""Those whose products are added to the stream."""
_ROUTER = "ffn_gate_inp"
"""In names of what says which experts see a token: it has the role of a gate, but acts before any of them."""
_LOOKED_AT = 4096
"""Tokens that tell how large the stream is at each layer."""
_ROWS = 512
"""Rows a thread rounds at once."""
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"

RoundRows = Callable[[GgmlType, np.ndarray, Inputs], np.ndarray]
"""Type, wanted weights (rows, n) f32 and their inputs -> rows of a file, (rows, row bytes) u8: a method's work."""
Rounded = tuple[str, np.ndarray]
"""A tensor's name and all its rows as a file has them, (rows, row bytes) u8."""


@dataclass(frozen=True)
class Calibration:
    """What is to be rounded, how, and on which text."""

    model: Model
    types: Mapping[str, GgmlType]
    """Of the tensors to be rounded."""
    chunks: np.ndarray
    """(sequences, context) i32."""
    round_rows: RoundRows
    threads: int | None = None
    unreached: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Filled while it is rounded: by name, the experts that the text gave nothing."""


def rounder(round_rows: RoundRows, second: np.ndarray, threads: int) -> Callable[[GgmlType, np.ndarray], np.ndarray]:
    """What rounds any weights (rows, n) f32 to rows of a file for inputs with second moments (n, n), on all threads."""
    moments = Moments(len(second))
    moments.second[:] = second
    given = of_moments(moments)
    given.prepare()

    def encode(type_: GgmlType, weights: np.ndarray) -> np.ndarray:
        parts = [weights[start : start + _ROWS] for start in range(0, len(weights), _ROWS)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda part: round_rows(type_, part, given), parts)))

    return encode


def covered(model: Model, types: Mapping[str, GgmlType]) -> dict[str, GgmlType]:
    """Those of the tensors and types that `rounded` gives: matrices it sees the inputs of."""
    tied = all(tensor.name != _OUTPUT for tensor in model.tensors)
    roles = {role for stage in _STAGES for role in stage} | {"output", "embedding"}
    return {
        tensor.name: types[tensor.name]
        for tensor in model.tensors
        if tensor.name in types and types[tensor.name] not in FLOAT_TYPES and role_of(tensor.name, tied) in roles
        and tensor.name != "per_layer_token_embd.weight"
    }  # fmt: skip


def rounded(calibration: Calibration) -> Iterator[Rounded]:
    """Every tensor of `calibration.types`, as it is done."""
    work = _Work(calibration)
    if _EMBEDDING in calibration.types:
        yield work.embedding()
    work.enter()
    for index in range(work.layers):
        yield from work.layer(index)
    if _OUTPUT in calibration.types:
        yield work.output()


class _Work:
    """The two models, how far they have come, and what of the one was rounded to make the other."""

    def __init__(self, calibration: Calibration) -> None:
        self._job = calibration
        self._tensors = {tensor.name: tensor for tensor in calibration.model.tensors}
        self._done: dict[str, Tensor] = {}
        self._float = from_model(calibration.model, calibration.threads, resident=False)
        self._walk = Walk(self._float, calibration.chunks.shape[1])
        self._streams: tuple[np.ndarray, np.ndarray]
        self._paths = {tensor.stored_at[0] for tensor in calibration.model.tensors if tensor.stored_at}

    @property
    def layers(self) -> int:
        return self._float.hyperparameters.layers

    def embedding(self) -> Rounded:
        """Rounded by what errors cost in the layers, and in predictions where it serves as output matrix too."""
        stream, mean_squares = self._walk.embed(self._looked_at()), []
        for index in range(self.layers):
            mean_squares.append(float(np.square(stream).mean()))
            self._run(stream, self._read(index, {}))
        mean_squares.append(float(np.square(stream).mean()))
        cost = _scaled(embedding.metric(self._job.model, mean_squares))
        if _OUTPUT not in self._tensors:
            cost = cost + _scaled(_moments_of(self._normed(self._float, stream)).second)
        return self._round(_EMBEDDING, [Inputs(cost / 2)])

    def enter(self) -> None:
        """Begin the walk."""
        entered = self._walk.embed(self._job.chunks)
        quantized = entered.copy()
        if _EMBEDDING in self._done:
            quantized = Walk(self._becoming(), self._job.chunks.shape[1]).embed(self._job.chunks)
            del self._done[_EMBEDDING]
        self._streams = entered, quantized

    def layer(self, index: int) -> Iterator[Rounded]:
        """The matrices of one layer, after which both models have passed it."""
        original = self._read(index, {})
        for number, roles in enumerate(_STAGES):
            names = [name for name in self._job.types if self._is_of(name, index, roles)]
            if names:
                collected = self._inputs((original, self._read(index, self._done)), names, number)
                for name in names:
                    self._note_unreached(name, collected)
                    yield self._round(name, collected.inputs(name, self._parts(name), self._tensors[name].columns))
                del collected
                gc.collect()  # recordings refer to themselves, and hold hundreds of megabytes
        for stream, layer in zip(self._streams, (original, self._read(index, self._done)), strict=True):
            self._run(stream, layer)
        for name in [name for name in self._done if name.startswith(f"blk.{index}.")]:
            del self._done[name]
        for path in self._paths:
            release(path)

    def _note_unreached(self, name: str, collected: Collected) -> None:
        idle = collected.unreached(name, self._parts(name)) if self._parts(name) > 1 else ()
        if idle:
            self._job.unreached[name] = idle

    def output(self) -> Rounded:
        shown = [Shown(self._normed(self._float, stream)) for stream in self._streams]
        moments = Moments(self._tensors[_OUTPUT].columns)
        moments.add(shown[1], shown[0])
        return self._round(_OUTPUT, [of_moments(moments)])

    # --- the walk ------------------------------------------------------------------------------------------------

    def _looked_at(self) -> np.ndarray:
        chunks = self._job.chunks
        return chunks[: max(1, _LOOKED_AT // chunks.shape[1])]

    def _run(self, stream: np.ndarray, layer: Layer) -> None:
        """Take a whole stream through a layer, in place."""
        made: dict[int, Passage] = {}
        for _, part in self._walk.parts(stream):
            sequences = len(part) // self._walk.context
            if sequences not in made:
                made[sequences] = self._walk.through(layer, sequences)
            made[sequences].run(part)

    def _inputs(self, layers: tuple[Layer, Layer], names: Sequence[str], stage: int) -> Collected:
        """What the tensors `names`, of one stage, are given in the two models."""
        ahead = {role for roles in _STAGES[stage:] for role in roles}
        added = _STAGES[stage] in _ADDED and not self._float.hyperparameters.family.post_norms
        collected = Collected(names, lambda name: _ROUTER in name or self._role(name) not in ahead, added)
        passages: dict[int, list[Passage]] = {}
        for start, part in self._walk.parts(self._streams[0]):
            sequences = len(part) // self._walk.context
            if sequences not in passages:
                passages[sequences] = collected.passages(self._walk, layers, sequences)
            for passage, stream in zip(passages[sequences], self._streams, strict=True):
                passage.run(stream[start : start + len(part)].copy())
            collected.count_in()
        return collected

    def _normed(self, transformer: Transformer, stream: np.ndarray) -> np.ndarray:
        return applied(transformer.norm, stream, transformer.threads)

    # --- what it becomes -----------------------------------------------------------------------------------------

    def _becoming(self) -> Transformer:
        tensors = [self._done.get(name, tensor) for name, tensor in self._tensors.items()]
        return from_model(replace(self._job.model, tensors=tensors), self._job.threads, resident=False)

    def _read(self, index: int, done: Mapping[str, Tensor]) -> Layer:
        """Layer `index` with what is `done` of it, read anew so that nothing is kept of it in memory."""
        prefix = f"blk.{index}."
        tensors = [done.get(name, tensor) for name, tensor in self._tensors.items() if name.startswith(prefix)]
        sizes = self._float.hyperparameters
        return read_layer(Parts(replace(self._job.model, tensors=tensors), sizes), sizes, index)

    def _round(self, name: str, inputs: Iterable[Inputs]) -> Rounded:
        """Round a tensor, of which each matrix has inputs of its own."""
        tensor, type_ = self._tensors[name], self._job.types[name]
        per_matrix = tensor.row_count // self._parts(name)
        rows = np.empty((tensor.row_count, row_nbytes(type_, tensor.columns)), np.uint8)

        def work(given: Inputs, first: int, start: int) -> None:
            stop = min(start + _ROWS, per_matrix)
            stored = tensor.read(first + start, first + stop)
            wanted = given.wanted(decode(tensor.type, stored), start)
            if not np.isfinite(wanted).all():
                self._refuse_not_finite(name)
            rows[first + start : first + stop] = self._job.round_rows(type_, wanted, given)

        with ThreadPoolExecutor(self._float.threads.count) as pool:
            for number, given in enumerate(inputs):
                if not np.isfinite(given.moments).all():
                    self._refuse_not_finite(name)
                given.prepare()
                list(pool.map(partial(work, given, number * per_matrix), range(0, per_matrix, _ROWS)))
        self._done[name] = tensor.rounded(type_, rows)
        return name, rows

    def _refuse_not_finite(self, name: str) -> NoReturn:
        """InputError that names the first weight that is not finite, or what is given activations that are not."""
        for tensor in self._tensors.values():
            for start in range(0, tensor.row_count, _ROWS):
                rows = tensor.read(start, min(start + _ROWS, tensor.row_count))
                refuse_not_finite(decode(tensor.type, rows), tensor.origin, start)
        raise InputError(f"{self._job.model.path}: {quoted(name)} is given activations that are not finite")

    def _parts(self, name: str) -> int:
        """How many matrices a tensor is a stack of."""
        shape = self._tensors[name].shape
        return shape[0] if len(shape) > 2 else 1

    def _is_of(self, name: str, index: int, roles: Sequence[str]) -> bool:
        return name.startswith(f"blk.{index}.") and self._role(name) in roles

    def _role(self, name: str) -> str:
        return role_of(name, _OUTPUT not in self._tensors)


def _scaled(cost: np.ndarray) -> np.ndarray:
    return cost / (cost.diagonal().mean() or 1)


def _moments_of(inputs: np.ndarray) -> Moments:
    moments = Moments(inputs.shape[1])
    moments.add(Shown(inputs), None)
    return moments
