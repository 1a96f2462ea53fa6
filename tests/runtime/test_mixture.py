"""A mixture adds what a token's chosen experts make of it, and reads no others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.model.source import open_model
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.runtime.layer import FeedForward, Linear
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Part, apply_part
from quantize_cli.runtime.transformer import from_model
from tests.runtime.synthetic import Decoder, tokens, weights, write
from tests.sources import Made

WIDTH, INNER, EXPERTS, USED = 8, 12, 5, 2


def linear(random: np.random.Generator, rows: int, columns: int) -> Linear:
    weights = random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
    return Linear(Matrix(from_array("w", weights)), None)


def of(part: Part, activations: np.ndarray) -> np.ndarray:
    found = apply_part(part, np.atleast_2d(activations), Threads(1))
    return found.reshape(*activations.shape[:-1], -1)


def mixture(normalized: bool) -> Mixture:
    random = np.random.default_rng(0)
    expert: Callable[[], FeedForward] = lambda: FeedForward(  # noqa: E731
        linear(random, INNER, WIDTH), linear(random, INNER, WIDTH), linear(random, WIDTH, INNER), gelu=False
    )
    return Mixture(
        linear(random, EXPERTS, WIDTH), tuple(expert() for _ in range(EXPERTS)), USED, normalized,
        expert(), linear(random, 1, WIDTH),
    )  # fmt: skip


@pytest.mark.parametrize("normalized", [True, False])
def test_a_mixture_is_the_weighted_sum_of_the_likeliest_experts(normalized: bool) -> None:
    mixed = mixture(normalized)
    activations = np.random.default_rng(1).normal(size=(20, WIDTH)).astype(np.float32)
    assert mixed.shared is not None
    assert mixed.shared_gate is not None
    for token, found in zip(activations, of(mixed, activations), strict=True):
        shares = np.exp(of(mixed.router, token).astype(float))
        shares /= shares.sum()
        chosen = sorted(range(EXPERTS), key=lambda expert: -shares[expert])[:USED]
        total = sum(shares[expert] for expert in chosen) if normalized else 1
        expected = sum(shares[expert] / total * of(mixed.experts[expert], token) for expert in chosen)
        gate = 1 / (1 + np.exp(-of(mixed.shared_gate, token)))
        assert np.abs(found - (expected + gate * of(mixed.shared, token))).max() < 1e-5


def test_experts_no_token_is_sent_to_are_not_read(tmp_path: Path) -> None:
    decoder = Decoder("llama", layers=1, experts=8)
    model = open_model(write(tmp_path / "model.gguf", decoder, weights(decoder)))
    read: set[int] = set()

    def watched(tensor: Tensor) -> Tensor:
        def rows(start: int, stop: int) -> np.ndarray:
            read.update(range(start // decoder.feed_forward, -(-stop // decoder.feed_forward)))
            return tensor.read(start, stop)

        return dataclasses.replace(tensor, source=Made(rows)) if "up_exps" in tensor.name else tensor

    model = dataclasses.replace(model, tensors=[watched(tensor) for tensor in model.tensors])
    from_model(model).logits(tokens(1))
    assert len(read) == 2
