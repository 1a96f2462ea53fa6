"""A model rounded in the order in which it computes, each matrix for what the ones before it, rounded, really give it.

Two models read the calibration text side by side, the float one and the one that it becomes. Of each layer first the
inputs of queries, keys and values are looked at, and these rounded; then, with what they now give, the attention's
output matrix; then the feed-forward's two stages. So errors do not add up unseen, and no more than one layer's moments
are in memory.

Both models compute each layer once: what the last matrix of attention and of the feed-forward is given is kept while
it is rounded, as far as there is room. Experts, and tokens for which there is none, are computed once more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from quantize_cli.calibration.rounding.rows import map_rows
from quantize_cli.calibration.runner.last_matrix import KeptInputs
from quantize_cli.calibration.runner.method import RoundRows
from quantize_cli.calibration.runner.stages import STAGES, Stage
from quantize_cli.calibration.statistics import embedding
from quantize_cli.calibration.statistics.inputs import Inputs, of_moments
from quantize_cli.calibration.statistics.layer_inputs import StageInputs
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor, refuse_not_finite
from quantize_cli.pipeline.roles import role_of
from quantize_cli.quants import decode
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import LayerRunner
from quantize_cli.runtime.matrix import release
from quantize_cli.runtime.observed_layer import observed_layer
from quantize_cli.runtime.parts import Parts, read_layer
from quantize_cli.runtime.recorder import apply_part
from quantize_cli.runtime.transformer import from_model

_ROUTER = "ffn_gate_inp"
"""In names of what says which experts see a token: it has the role of a gate, but acts before any of them."""
_LOOKED_AT = 4096
"""Tokens that tell how large the stream is at each layer."""
_ROWS = 512
"""Rows a thread rounds at once."""
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"

Rounded = tuple[str, np.ndarray]
"""A tensor's name and all its rows as a file has them, (rows, row bytes) u8."""


@dataclass(frozen=True)
class SequenceJob:
    """What is to be rounded, how, and on which text."""

    model: Model
    types: Mapping[str, GgmlType]
    """Of the tensors to be rounded."""
    chunks: np.ndarray
    """(sequences, context) i32."""
    round_rows: RoundRows
    threads: int | None = None
    experts_without_tokens: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Filled while it is rounded: by name, the experts that the text gave nothing."""


def rounder(round_rows: RoundRows, second: np.ndarray, threads: int) -> Callable[[GgmlType, np.ndarray], np.ndarray]:
    """What rounds any weights (rows, n) f32 to rows of a file for inputs with second moments (n, n), on all threads."""
    moments = Moments(len(second), threads)
    moments.second[:] = second
    inputs = of_moments(moments)
    inputs.prepare()

    def encode(type_: GgmlType, weights: np.ndarray) -> np.ndarray:
        rounded_rows = map_rows(lambda part: round_rows(type_, weights[part], inputs), len(weights), _ROWS, threads)
        return np.concatenate(rounded_rows)

    return encode


def covered(model: Model, types: Mapping[str, GgmlType]) -> dict[str, GgmlType]:
    """Those of the tensors and types that `rounded` gives: matrices it sees the inputs of."""
    tied = all(tensor.name != _OUTPUT for tensor in model.tensors)
    roles = {role for stage in STAGES for role in stage.roles} | {"output", "embedding"}
    return {
        tensor.name: types[tensor.name]
        for tensor in model.tensors
        if tensor.name in types and types[tensor.name] not in FLOAT_TYPES and role_of(tensor.name, tied) in roles
        and tensor.name != "per_layer_token_embd.weight"
    }  # fmt: skip


def rounded(calibration: SequenceJob) -> Iterator[Rounded]:
    """Every tensor of `calibration.types`, as it is done."""
    work = _SequentialRounding(calibration)
    if _EMBEDDING in calibration.types:
        yield work.embedding()
    work.enter()
    for index in range(work.layers):
        yield from work.layer(index)
    if _OUTPUT in calibration.types:
        yield work.output()


class _SequentialRounding:
    """The two models, how far they have come, and what of the one was rounded to make the other."""

    def __init__(self, job: SequenceJob) -> None:
        self._job = job
        self._tensors = {tensor.name: tensor for tensor in job.model.tensors}
        self._done: dict[str, Tensor] = {}
        self._float = from_model(job.model, job.threads, resident=False)
        self._runner = LayerRunner(replace(self._float, bfloat16=True), job.chunks.shape[1])
        self._streams: tuple[np.ndarray, np.ndarray]
        """What the float model and the one that it becomes give their next layer."""
        self._paths = {tensor.stored_at[0] for tensor in job.model.tensors if tensor.stored_at}

    @property
    def layers(self) -> int:
        return self._float.hyperparameters.layers

    @property
    def _threads(self) -> int:
        return self._float.threads.count

    def embedding(self) -> Rounded:
        """Rounded by what errors cost in the layers, and in predictions where it serves as output matrix too."""
        chunks = self._job.chunks
        stream, mean_squares = self._runner.embed(chunks[: max(1, _LOOKED_AT // chunks.shape[1])]), []
        for index in range(self.layers):
            mean_squares.append(float(np.square(stream).mean()))
            self._runner.record(self._read(index, {})).run_all(stream)
        mean_squares.append(float(np.square(stream).mean()))
        cost = _scaled(embedding.metric(self._job.model, mean_squares, self._threads))
        if _OUTPUT not in self._tensors:
            moments = Moments(stream.shape[1], self._threads)
            moments.add(self._normed(stream))
            cost = cost + _scaled(moments.second)
        return self._round(_EMBEDDING, [Inputs(cost / 2, threads=self._threads)])

    def enter(self) -> None:
        """Take both models to their first layer."""
        entered = self._runner.embed(self._job.chunks)
        quantized = entered.copy()
        if _EMBEDDING in self._done:
            tensors = [self._done.get(name, tensor) for name, tensor in self._tensors.items()]
            becoming = from_model(replace(self._job.model, tensors=tensors), self._job.threads, resident=False)
            quantized = LayerRunner(becoming, self._runner.context).embed(self._job.chunks)
            del self._done[_EMBEDDING]
        self._streams = entered, quantized

    def layer(self, index: int) -> Iterator[Rounded]:
        """The matrices of one layer, after which both models have passed it."""
        original = self._read(index, {})
        for stage in STAGES:
            kept = KeptInputs()
            names = [name for name in self._job.types if self._is_of(name, index, stage.roles)]
            if names:
                observed = self._observe(original, self._read(index, self._done), names, stage, kept)
                for name in names:
                    idle = observed.experts_without_tokens(name, self._parts(name))
                    if idle and self._parts(name) > 1:
                        self._job.experts_without_tokens[name] = idle
                    yield self._round(name, observed.inputs(name, self._parts(name), self._tensors[name].columns))
                del observed
            elif stage.ends_half:
                self._runner.record(original, record=stage.record).run_all(self._streams[0])
            if stage.ends_half:
                self._end_half(self._read(index, self._done), stage, kept)
        for name in [name for name in self._done if name.startswith(f"blk.{index}.")]:
            del self._done[name]
        for path in self._paths:
            release(path)

    def output(self) -> Rounded:
        original, quantized = (self._normed(stream) for stream in self._streams)
        moments = Moments(self._tensors[_OUTPUT].columns, self._threads)
        moments.add(quantized, original)
        return self._round(_OUTPUT, [of_moments(moments)])

    def _end_half(self, quantized: Layer, stage: Stage, kept: KeptInputs) -> None:
        """Take the model that it becomes behind a half of a layer, all of which is rounded now."""
        assert stage.ending is not None
        ending, whole = stage.ending(quantized), self._runner.record(quantized, record=stage.record)
        if ending is None:
            whole.run_all(self._streams[1])
            return
        parts = (part for (part,) in self._runner.parts(self._streams[1]))
        kept.finish(self._runner.transformer, ending, parts, whole.run)

    def _observe(
        self, original: Layer, quantized: Layer, names: Sequence[str], stage: Stage, kept: KeptInputs
    ) -> StageInputs:
        """What the tensors `names`, of one stage, are given in the two models; the float one then is behind the half.

        Only what comes before the stage is multiplied, and all of the float model's half where the stage ends it. What
        its one matrix is given is then `kept`.
        """
        keeps = stage.ending is not None and stage.ending(quantized) is not None
        ahead = {role for other in STAGES[STAGES.index(stage) :] for role in other.roles}
        added = stage.ends_half and not self._float.hyperparameters.family.post_norms

        def is_before(name: str) -> bool:
            return _ROUTER in name or self._role(name) not in ahead

        inputs, shown = StageInputs(self._threads), frozenset(names).__contains__
        runs = [
            self._runner.record(observed_layer(layer, observer, shown, multiplied), record=stage.record)
            for layer, observer, multiplied in (
                (original, inputs.original, (lambda name: True) if stage.ends_half else is_before),
                (quantized, inputs.quantized, is_before),
            )
        ]
        for parts in self._runner.parts(*self._streams):
            residual = parts[0] - parts[1] if added else None
            runs[0].run(parts[0] if stage.ends_half else parts[0].copy())
            runs[1].run(parts[1].copy())
            if keeps:
                kept.add(inputs.latest(names[0]))
            inputs.count_in(residual)
        return inputs

    def _normed(self, stream: np.ndarray) -> np.ndarray:
        return apply_part(self._float.norm, stream, self._float.threads)

    # --- what it becomes -----------------------------------------------------------------------------------------

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
        for number, of_matrix in enumerate(inputs):
            if not np.isfinite(of_matrix.moments).all():
                self._refuse_not_finite(name)
            of_matrix.prepare()

            def work(part: slice, of_matrix: Inputs = of_matrix, first: int = number * per_matrix) -> None:
                tensor_rows = slice(first + part.start, first + part.stop)
                weights = of_matrix.corrected(
                    decode(tensor.type, tensor.read(tensor_rows.start, tensor_rows.stop)), part.start
                )
                if not np.isfinite(weights).all():
                    self._refuse_not_finite(name)
                rows[tensor_rows] = self._job.round_rows(type_, weights, of_matrix)

            map_rows(work, per_matrix, _ROWS, self._threads)
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
