"""One forward pass for every decoder the runtime knows; families differ by flags and by the parts they have."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.runtime.attention import Scoring, attend
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.hyperparameters import Described, Hyperparameters, read_hyperparameters
from quantize_cli.runtime.layer import Layer, Linear, Norm
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.parts import HOLD_NBYTES, Parts, read_layer
from quantize_cli.runtime.rotary import Rotary, read_local_rotary, read_rotary, rotated_columns

_Rotation = tuple[Rotary, np.ndarray] | None
"""How vectors turn, and the turns of the positions at hand."""


@dataclass(frozen=True)
class Transformer:
    """A decoder ready to run. It keeps no state: what was processed before is in a `Cache`."""

    hyperparameters: Hyperparameters
    embedding: Matrix
    positions: Matrix | None
    """Learned position embeddings, one row per position."""
    rotary: Rotary | None
    local_rotary: Rotary | None
    """How layers with a window rotate; most often as the others do."""
    layers: tuple[Layer, ...]
    norm: Norm
    output: Linear

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
        cache = Cache(self.hyperparameters, count, sequences) if cache is None else cache
        self._check(batch, cache)
        places = np.arange(cache.length, cache.length + count)
        stream = self.embedding.rows(batch.ravel())
        if self.hyperparameters.family.scaled_embedding:
            stream = stream * np.float32(np.sqrt(self.hyperparameters.width))
        if self.positions is not None:
            stream = stream + np.tile(self.positions.rows(places), (sequences, 1))
        rotations = self._rotations(places, cache.capacity)
        for index, layer in enumerate(self.layers):
            normed = layer.attention_norm(stream).reshape(sequences, count, -1)
            mixed = self._attention(layer, index, normed, rotations[layer.window > 0], cache)
            stream = stream + (mixed if layer.attention_post_norm is None else layer.attention_post_norm(mixed))
            formed = layer.feed_forward(layer.feed_forward_norm(stream))
            stream += formed if layer.feed_forward_post_norm is None else layer.feed_forward_post_norm(formed)
        cache.advance(count)
        return self.norm(stream).reshape(*np.shape(tokens), -1)

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """What `hidden` gives, or some positions of it (..., width) -> logits (..., vocabulary)."""
        flat = self.output(hidden.reshape(-1, hidden.shape[-1]))
        if cap := self.hyperparameters.logit_cap:
            flat = np.tanh(flat / np.float32(cap)) * np.float32(cap)
        return flat.reshape(*hidden.shape[:-1], -1)

    def _rotations(self, places: np.ndarray, room: int) -> tuple[_Rotation, _Rotation]:
        """How far positions turn in layers that see everything, and in those with a window."""
        if self.rotary is None or self.local_rotary is None:
            return None, None
        everywhere = self.rotary, self.rotary.turns(places, room)
        if self.local_rotary is self.rotary:
            return everywhere, everywhere
        return everywhere, (self.local_rotary, self.local_rotary.turns(places, room))

    def _attention(self, layer: Layer, index: int, normed: np.ndarray, rotation: _Rotation, cache: Cache) -> np.ndarray:
        """Normed activations (sequences, n, width) -> what attention adds to them, (sequences * n, width)."""
        sequences, count, width = normed.shape
        sizes = self.hyperparameters
        projected = np.concatenate([linear(normed.reshape(-1, width)) for linear in layer.projections], axis=-1)
        heads = projected.reshape(sequences, count, -1, sizes.head_width)
        ends = (sizes.heads, sizes.heads + sizes.key_value_heads)
        queries, keys, values = np.split(heads, ends, axis=2)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = layer.query_norm(queries), layer.key_norm(keys)
        if rotation is not None:
            rotary, turns = rotation
            queries, keys = rotary.rotate(queries, turns), rotary.rotate(keys, turns)
        scoring = Scoring(sizes.score_scale, sizes.score_cap, layer.window)
        mixed = attend(queries, *cache.store(index, keys, values), scoring)
        return layer.attention_output(mixed.reshape(sequences * count, -1))

    def _check(self, batch: np.ndarray, cache: Cache) -> None:
        sequences, count = batch.shape
        if not batch.size:
            raise InputError("there are no tokens to run")
        unknown = batch[(batch < 0) | (batch >= self.vocabulary)]
        if unknown.size:
            raise InputError(f"token {unknown[0]} is not in a vocabulary of {self.vocabulary}")
        stop = cache.length + count
        if cache.sequences != sequences or cache.capacity < stop:
            raise ValueError(f"a cache of {cache.sequences} x {cache.capacity} cannot hold {sequences} x {stop}")
        if self.positions is not None and stop > self.positions.tensor.row_count:
            raise InputError(f"the model has {self.positions.tensor.row_count} positions, {stop} are needed")


def from_model(model: Described, hold_nbytes: int = HOLD_NBYTES) -> Transformer:
    """A transformer from a model's metadata and tensors; InputError naming what is missing, extra or misshapen.

    Matrices stay in memory as float32 if all of them fit `hold_nbytes`; otherwise each is decoded at every use.
    """
    sizes = read_hyperparameters(model)
    parts = Parts(model, sizes, hold_nbytes)
    rotary = _rotary(model, sizes, parts) if sizes.family.rotates else None
    embedding = parts.matrix("token_embd.weight", None, sizes.width)
    vocabulary = embedding.tensor.row_count
    transformer = Transformer(
        hyperparameters=sizes,
        embedding=embedding,
        positions=parts.matrix("position_embd.weight", None, sizes.width) if sizes.family.learned_positions else None,
        rotary=rotary,
        local_rotary=None if rotary is None else read_local_rotary(model, sizes, rotary),
        layers=tuple(read_layer(parts, sizes, index) for index in range(sizes.layers)),
        norm=parts.norm("output_norm", sizes.width),
        output=parts.linear("output", vocabulary, sizes.width) if "output.weight" in parts else Linear(embedding, None),
    )
    parts.refuse_leftovers()
    return transformer


def _rotary(model: Described, sizes: Hyperparameters, parts: Parts) -> Rotary:
    """The rotation, with the divisors that the family's files may hold."""
    pairs = rotated_columns(model, sizes) // 2
    names = {"freqs": "rope_freqs"} if sizes.family.rotary_divisors else {}
    if sizes.family.long_divisors:
        names |= {"short": "rope_factors_short", "long": "rope_factors_long"}
    found = {key: parts.vector(f"{name}.weight", pairs) for key, name in names.items()}
    return read_rotary(model, sizes, {key: divisors for key, divisors in found.items() if divisors is not None})
