"""One forward pass for every decoder the runtime knows; families differ by flags and by the parts they have."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import NoReturn

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.jit import kernel_cache
from quantize_cli.machine import processors
from quantize_cli.runtime.attention import record_mix
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.damage import refuse_any_damaged
from quantize_cli.runtime.hyperparameters import HasMetadata, Hyperparameters, read_hyperparameters
from quantize_cli.runtime.kernels import elementwise
from quantize_cli.runtime.layer import Layer, Linear, Norm
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.only_run import refuse_encoder, refuse_only_run
from quantize_cli.runtime.parts import Parts, idle_norm, read_layer
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import FEW, Recorder, Recordings, apply_part
from quantize_cli.runtime.recording import Recording
from quantize_cli.runtime.residence import make_resident
from quantize_cli.runtime.rotary import Rotary, read_local_rotary, read_rotary
from quantize_cli.runtime.rotary_tables import RotaryTable, fill_tables
from quantize_cli.runtime.substitution import tensors

__all__ = ["Recording", "Transformer", "from_model"]

_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Transformer:
    """A model ready to run. What was processed before is in a `Cache`; what is kept here only saves recording."""

    hyperparameters: Hyperparameters
    embedding: Matrix
    embedding_norm: Norm | None
    positions: Matrix | None
    """Learned position embeddings, one row per position."""
    token_type: np.ndarray | None
    """What is added to every embedding, (width,) f32."""
    rotary: Rotary | None
    local_rotary: Rotary | None
    """How layers with a window rotate; most often as the others do."""
    layers: tuple[Layer, ...]
    norm: Norm
    output: Linear
    threads: Threads
    path: Path
    """Of the model, for messages."""
    bfloat16: bool = False
    """Layer by layer, activations that meet weights of bfloat16 are rounded to it too, which takes half the time."""
    _passes: Recordings[tuple[int, bool], Recording] = field(
        default_factory=lambda: Recordings(kept=lambda key: key[0] == 1), init=False
    )
    """By the number of positions, and whether the result is the last one's logits."""
    _projections: Recordings[int, tuple[Recorder, np.ndarray, np.ndarray]] = field(
        default_factory=Recordings, init=False
    )
    _spares: list[Cache] = field(default_factory=list, init=False)

    @property
    def vocabulary(self) -> int:
        return self.embedding.tensor.row_count

    def logits(self, tokens: np.ndarray, cache: Cache | None = None) -> np.ndarray:
        """Tokens (n,), or (sequences, n) of independent texts -> float32 logits (..., n, vocabulary).

        With a cache the tokens continue what it holds, and are added to it.
        """
        return self.project(self.hidden(tokens, cache))

    def hidden(self, tokens: np.ndarray, cache: Cache | None = None) -> np.ndarray:
        """As `logits`, but stops before the output matrix: (..., n, width)."""
        batch = np.atleast_2d(np.asarray(tokens))
        sequences, count = batch.shape
        cache = self._spare(sequences, count) if cache is None else cache
        return self._run(batch, cache, predict=False).reshape(*np.shape(tokens), -1).copy()

    def predict(self, tokens: np.ndarray, cache: Cache) -> np.ndarray:
        """What comes after `tokens` (n,), which continue the cache's one sequence: logits (vocabulary,) f32."""
        logits: np.ndarray = self._run(np.asarray(tokens)[None], cache, predict=True)[0].copy()
        return logits

    def _run(self, batch: np.ndarray, cache: Cache, predict: bool) -> np.ndarray:
        """Run the recorded pass; what it gives will be overwritten by the next run."""
        sequences, count = batch.shape
        stop = cache.length + count
        self.check_tokens(batch, stop)
        if cache.sequences != sequences or cache.capacity < stop:
            raise ValueError(f"a cache of {cache.sequences} x {cache.capacity} cannot hold {sequences} x {stop}")
        recorded = self._passes.get(
            (count, predict), lambda key: self._record(cache, *key), fits=lambda recorded: recorded.cache is cache
        )
        positions = np.arange(cache.length, cache.length + count)
        recorded.stream[:] = self.embed(batch, positions)
        fill_tables(recorded.turns, positions, cache.capacity)
        recorded.recorder.run()
        if not np.isfinite(recorded.result).all():
            self._refuse_not_finite(batch, cache)
        cache.advance(count)
        return recorded.result

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """What `hidden` gives, or some positions of it (..., width) -> logits (..., vocabulary)."""
        recorder, flat, logits = self._projections.get(hidden.size // hidden.shape[-1], self._recorded_projection)
        flat[:] = hidden.reshape(flat.shape)
        recorder.run()
        with np.errstate(over="ignore", invalid="ignore"):
            total = logits.sum()
        if not np.isfinite(total) and not np.isfinite(logits).all():
            self._refuse_weights()
            raise InputError(f"{self.path}: logits overflow, though all weights are finite")
        return logits.reshape(*hidden.shape[:-1], -1).copy()

    def _refuse_not_finite(self, batch: np.ndarray, cache: Cache) -> NoReturn:
        """Say why what came of tokens (sequences, n) is not finite: a weight, or else the layer that overflows."""
        self._refuse_weights()
        positions = np.arange(cache.length, cache.length + batch.shape[1])
        stream = self.embed(batch, positions)
        for index, layer in enumerate(self.layers):
            recording = self.new_recording(cache, batch.shape[1])
            recording.stream[:] = stream
            fill_tables(recording.turns, positions, cache.capacity)
            self.record_layer(recording, layer, index)
            recording.recorder.run()
            stream = recording.stream
            if not np.isfinite(stream).all():
                raise InputError(f"{self.path}: activations overflow in layer {index}, though all weights are finite")
        raise InputError(f"{self.path}: logits overflow, though all weights are finite")

    def _refuse_weights(self) -> None:
        """InputError if a weight is not finite."""
        refuse_any_damaged([self.embedding.tensor, self.output.matrix.tensor])
        refuse_any_damaged(tensor for layer in self.layers for tensor in tensors(layer))

    def prepare(self, note: Callable[[str], None]) -> None:
        """Have all machine code ready, from the cache or made now; `note` is called if that takes long."""
        compiling = Timer(_PATIENCE_SECONDS, lambda: note(kernel_cache.compiling()))
        compiling.start()
        try:
            for count in (1, FEW):
                self._record(Cache(self.hyperparameters, count), count, predict=True)
                self._recorded_projection(count)
        finally:
            compiling.cancel()

    def _spare(self, sequences: int, count: int) -> Cache:
        """A cache for texts of which nothing is to be remembered: the last such one if it fits."""
        if not self._spares or (self._spares[0].sequences, self._spares[0].capacity) != (sequences, count):
            self._spares[:] = [Cache(self.hyperparameters, count, sequences)]
        self._spares[0].rewind(0)
        return self._spares[0]

    def embed(self, batch: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """What the first layer is given for tokens (sequences, n) at `positions` (n,): (sequences * n, width)."""
        stream = self.embedding.rows(batch.ravel())
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where logits are used
            if self.hyperparameters.family.scaled_embedding:
                stream = stream * np.float32(np.sqrt(self.hyperparameters.width))
            if (factor := self.hyperparameters.adjustments.embedding_scale) != 1:
                stream = stream * np.float32(factor)
            if self.token_type is not None:
                stream = stream + self.token_type
            if self.positions is not None:
                stream = stream + np.tile(self.positions.rows(positions), (len(batch), 1))
            if self.embedding_norm is not None:
                stream = apply_part(self.embedding_norm, stream, self.threads)
        return stream

    def _recorded_projection(self, count: int) -> tuple[Recorder, np.ndarray, np.ndarray]:
        """A recording of the output matrix, where it takes hidden states (count, width), and where logits will lie."""
        recorder, hidden = Recorder(self.threads), np.empty((count, self.hyperparameters.width), np.float32)
        return recorder, hidden, self._record_projection(recorder, hidden)

    def _record_projection(self, recorder: Recorder, hidden: np.ndarray) -> np.ndarray:
        logits = self.output.record(recorder, hidden)
        if (factor := self.hyperparameters.adjustments.logit_scale) != 1:
            recorder.add(elementwise.scale, y=logits, factor=factor)
        if cap := self.hyperparameters.logit_cap:
            recorder.add(elementwise.soft_cap, y=logits, cap=cap)
        return logits

    def new_recording(self, cache: Cache, count: int) -> Recording:
        """Nothing yet, of `count` more positions of each of the cache's sequences."""
        stream = np.empty((cache.sequences * count, self.hyperparameters.width), np.float32)
        turns: tuple[RotaryTable, ...] = ()
        if self.rotary is not None and self.local_rotary is not None:
            everywhere = RotaryTable(self.rotary, count)
            local = everywhere if self.local_rotary is self.rotary else RotaryTable(self.local_rotary, count)
            turns = everywhere, local
        return Recording(cache, Recorder(self.threads, self.bfloat16), stream, turns, stream)

    def _record(self, cache: Cache, count: int, predict: bool) -> Recording:
        """Record the pass of `count` more positions of each of the cache's sequences."""
        recording = self.new_recording(cache, count)
        for index, layer in enumerate(self.layers):
            self.record_layer(recording, layer, index)
        hidden = self.norm.record(recording.recorder, recording.stream[-1:] if predict else recording.stream)
        recording.result = self._record_projection(recording.recorder, hidden) if predict else hidden
        return recording

    def record_layer(self, recording: Recording, layer: Layer, index: int = 0) -> None:
        """Record what a layer adds to the stream; `index` is its layer in the cache."""
        if not layer.is_parallel:
            self.record_attention(recording, layer, index)
            self.record_feed_forward(recording, layer)
            return
        with recording.recorder.scope():
            ahead = layer.feed_forward_norm.record(recording.recorder, recording.stream)
            self.record_attention(recording, layer, index)
            self._add(recording, layer.feed_forward.record(recording.recorder, ahead), layer.feed_forward_post_norm)

    def record_attention(self, recording: Recording, layer: Layer, index: int = 0) -> None:
        """Record the first half of a layer."""
        with recording.recorder.scope():
            normed = layer.attention_norm.record(recording.recorder, recording.stream)
            mixed = record_mix(self.hyperparameters, recording, layer, index, normed)
            self._add(recording, mixed, layer.attention_post_norm)

    def record_feed_forward(self, recording: Recording, layer: Layer) -> None:
        """Record the second half of a layer."""
        with recording.recorder.scope():
            normed = layer.feed_forward_norm.record(recording.recorder, recording.stream)
            self._add(recording, layer.feed_forward.record(recording.recorder, normed), layer.feed_forward_post_norm)

    def _add(self, recording: Recording, x: np.ndarray, post: Norm | None) -> None:
        """Record that x, normed by `post` and scaled as the model asks for it, is added to the stream.

        Where the family norms the stream, `post` norms the sum instead.
        """
        recorder, norms_sum = recording.recorder, self.hyperparameters.family.norms_stream
        added = x if post is None or norms_sum else post.record(recorder, x)
        if (factor := self.hyperparameters.adjustments.residual_scale) != 1:
            recorder.add(elementwise.scale, y=added, factor=factor)
        recorder.add(elementwise.add, y=recording.stream, x=added)
        if post is not None and norms_sum:
            post.record_in_place(recorder, recording.stream)

    def check_tokens(self, batch: np.ndarray, positions: int) -> None:
        """InputError for tokens (sequences, n) that the model does not have, or more positions than it has."""
        if not batch.size:
            raise InputError("there are no tokens to run")
        unknown = batch[(batch < 0) | (batch >= self.vocabulary)]
        if unknown.size:
            raise InputError(f"token {unknown[0]} is not in a vocabulary of {self.vocabulary}")
        if self.positions is not None and positions > self.positions.tensor.row_count:
            raise InputError(f"the model has {self.positions.tensor.row_count} positions, {positions} are needed")


def from_model(
    model: HasMetadata, threads: int | None = None, resident: bool = True, embeds: bool = False
) -> Transformer:
    """A transformer from a model's metadata and tensors; InputError naming what is missing, extra or misshapen.

    It computes on `threads` threads, by default all the process may use. Weights are copied to faster memory where
    there is room, if they are to be `resident`; they are not where a model is trained or rounded layer by layer, which
    is refused for layers that only the runtime knows. So is an encoder, unless nothing but embeddings is asked for.
    """
    if not embeds:
        refuse_encoder(model)
    sizes = read_hyperparameters(model)
    if not resident:
        refuse_only_run(model)
    parts = Parts(model, sizes)
    embedding = parts.matrix("token_embd.weight", None, sizes.width)
    vocabulary = embedding.tensor.row_count
    layers = tuple(read_layer(parts, sizes, index) for index in range(sizes.layers))
    # Only now are there tensors that bear out how wide a head is, and room is made for that.
    rotary = read_rotary(model, sizes, parts.vector) if sizes.family.rotates else None
    transformer = Transformer(
        hyperparameters=sizes,
        embedding=embedding,
        embedding_norm=parts.norm("token_embd_norm", sizes.width) if sizes.family.embedding_norm else None,
        positions=parts.matrix("position_embd.weight", None, sizes.width) if sizes.family.learned_positions else None,
        token_type=_token_type(parts, sizes),
        rotary=rotary,
        local_rotary=None if rotary is None else read_local_rotary(model, sizes, rotary),
        layers=layers,
        norm=idle_norm(sizes) if sizes.family.norms_stream else parts.norm("output_norm", sizes.width),
        output=parts.linear("output", vocabulary, sizes.width) if "output.weight" in parts else Linear(embedding, None),
        threads=Threads(threads or processors()),
        path=model.path,
    )
    parts.refuse_leftovers()
    if resident:
        multiplied = [m for m in parts.matrices_made if m is not embedding or transformer.output.matrix is m]
        make_resident(multiplied)
    return transformer


def _token_type(parts: Parts, sizes: Hyperparameters) -> np.ndarray | None:
    """The embedding of the first type, which all tokens of one text have; None without types."""
    if not sizes.family.token_types or "token_types.weight" not in parts:
        return None
    first: np.ndarray = parts.matrix("token_types.weight", None, sizes.width).rows(np.zeros(1, np.int64))[0]
    return first
