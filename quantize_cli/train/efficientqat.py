"""EfficientQAT (Chen et al. 2024): block after block, then the scales end to end.

Block-AP trains all of a block's weights, scales and minima, so that it gives what the float block gives. It is given
what the trained blocks before it give. Then E2E-QP keeps the codes, and trains scales and minima alone against the
float model's predictions. Only one block at a time has all its parameters trained, so that memory and time are a
fraction of those of `qat`.
"""

from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor

from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.distillation import divergence_loss, held_out_divergence, relative_error
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Phase, PhaseOutline, Training
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role

_BLOCK, _END_TO_END = "block {}", "scales end to end"
_BLOCK_STEPS = 300
_STEPS = 200
_RATES = {Role.WEIGHTS: 0.01, Role.SCALES: 0.0005}
"""Of a weight's step, for blocks and end to end."""


class EfficientQat:
    """Block-AP, then E2E-QP."""

    def outline(self, job: TrainJob, blocks: int) -> tuple[PhaseOutline, ...]:
        steps = job.block_steps or _BLOCK_STEPS
        first = (PhaseOutline(_BLOCK.format(number), steps, frozenset(_RATES), number) for number in range(blocks))
        return (*first, PhaseOutline(_END_TO_END, job.steps or _STEPS, frozenset({Role.SCALES})))

    def phases(self, training: Training) -> Iterator[Phase]:
        yield from _blocks(training)
        for matrix in training.matrices.values():
            matrix.freeze_codes()
        yield Phase(
            _END_TO_END,
            training.job.steps or _STEPS,
            training.groups,
            training.rates(_RATES),
            divergence_loss(training),
            held_out_divergence(training),
        )


METHOD = EfficientQat()


def _blocks(training: Training) -> Iterator[Phase]:
    """A phase for each block; between phases all chunks pass the block that is done."""
    streams = _Streams(training)
    for number in range(len(training.decoder.blocks)):
        streams.advance_float(number)
        groups = _groups_of(training, number)
        if groups:
            yield Phase(
                _BLOCK.format(number),
                training.job.block_steps or _BLOCK_STEPS,
                groups,
                training.rates(_RATES),
                partial(streams.loss, number),
            )
        streams.advance_quantized(number)


def _groups_of(training: Training, number: int) -> tuple[ParameterGroup, ...]:
    """The parameters of a block's matrices."""
    return tuple(
        group
        for name, matrix in training.matrices.items()
        if name.startswith(f"blk.{number}.")
        for group in matrix.groups()
    )


class _Streams:
    """What blocks are given for all training chunks, (chunks, n, width) f32 in main memory."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._tokens = torch.from_numpy(training.examples.tokens).long()
        self._original = self._embedded(training.original)
        """Of the float model: once a block was passed, what the quantized one should give."""
        self._quantized = self._embedded(training.quantized)

    @torch.no_grad()
    def advance_float(self, number: int) -> None:
        self._advance(self._original, number, self._training.original)

    @torch.no_grad()
    def advance_quantized(self, number: int) -> None:
        self._advance(self._quantized, number, cache(self._training.quantized))

    def loss(self, number: int, step: int) -> Tensor:
        """The error of a block's output on a batch, each token's relative to its size: a norm comes next."""
        training = self._training
        chunks = training.chunks_of(step)
        out = self._run(self._quantized[chunks], number, cache(training.quantized))
        return relative_error(out, self._original[chunks].to(training.device))

    @torch.no_grad()
    def _embedded(self, weights: Weights) -> Tensor:
        decoder, device, batch = self._training.decoder, self._training.device, self._training.job.batch
        parts = (self._tokens[start : start + batch] for start in range(0, len(self._tokens), batch))
        return torch.cat([decoder.embed(part.to(device), weights).cpu() for part in parts])

    def _advance(self, streams: Tensor, number: int, weights: Weights) -> None:
        for start in range(0, len(streams), self._training.job.batch):
            part = slice(start, start + self._training.job.batch)
            streams[part] = self._run(streams[part], number, weights).cpu()

    def _run(self, stream: Tensor, number: int, weights: Weights) -> Tensor:
        """A block alone, which needs no checkpointing: it is all that is kept for a gradient."""
        decoder = self._training.decoder
        stream, block = stream.to(self._training.device), decoder.blocks[number]
        out: Tensor = block(stream, decoder.turns(stream.shape[1])[block.window > 0], weights)
        return out
