"""How much memory a training takes at the most, from shapes alone.

    program       Python, torch, compiled kernels, and what converts the model
    float model   4 bytes for each weight
    file          4 bytes for each weight that is not trained; of those that are, the parameters and a byte for a code
                  beside adapters 2 bytes for each weight, and no float model
    gradients     4 bytes for each parameter of a phase
    optimizer     8 bytes for each, the two moments of AdamW
    best          4 bytes for each, where held-out text is watched
    decoded       what a matrix stands for, and what its gradient needs: 9 bytes for each weight
    activations   what each layer keeps for its gradient, of a batch, in float32; with checkpointing its input alone
    logits        some arrays of tokens by vocabulary
    rounding      before all phases: what both models give their next layer, for the text that the start is rounded for
    streams       what a block is given and is to give for all chunks, where blocks are trained one by one

Parameters are weights, steps, minima and scales. The largest phase counts. On a GPU the streams, the best parameters
and the program are in main memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType
from quantize_cli.model.source import Model
from quantize_cli.runtime.hyperparameters import Hyperparameters, read_hyperparameters
from quantize_cli.train.runner import logits
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import PhaseOutline
from quantize_cli.train.weights.trained_matrix import Role
from quantize_cli.units import size

_PROGRAM = 600_000_000
_DECODED, _TEMPORARY = 9, 5
"""Bytes of a weight's decoded matrix, and float arrays of the largest matrix while its gradient is computed."""
_LOGITS = 8
"""Arrays of logits that are there at once."""
_PACKED = 2
"""Bytes of a weight beside which adapters are trained: at most 8.5 bits, and while it is packed some more."""
_STREAMS, _MOMENTS = 8, 8
"""Arrays of all tokens that rounding a start holds, and of moments of a matrix's inputs."""
_WIDTHS, _QUERIES, _KEYS, _INNER = 10, 8, 4, 5
"""Arrays of a layer that are kept: of the model's width, of all query heads, of key heads, of the feed-forward."""


@dataclass(frozen=True)
class Sizes:
    """The numbers of a model that memory depends on."""

    hyperparameters: Hyperparameters
    weights: int
    """Of all matrices."""
    largest: int
    """Of one matrix."""
    vocabulary: int
    trained: int
    """Weights that are trained, and the parameters for them."""
    parameters: int
    scales: int
    """Those of the parameters that are no weights."""
    blocks: Sequence[tuple[int, int]] = field(repr=False)
    """Trained weights and parameters of each block."""
    sides: int
    """Rows and columns of the matrices of layers, which adapters have times their rank."""


@dataclass(frozen=True)
class Bound:
    """Bytes that a training takes at the most, by what for, in its largest phase."""

    parts: dict[str, int]
    phase: str

    @property
    def nbytes(self) -> int:
        return sum(self.parts.values())


def sizes_of(model: Model, types: Mapping[str, GgmlType]) -> Sizes:
    """Of a float model whose tensors will have `types`, or stay floats; InputError for one that we cannot run."""
    sizes = read_hyperparameters(model)
    matrices = {tensor.name: prod(tensor.shape) for tensor in model.tensors if len(tensor.shape) > 1}
    trained = {name: count for name, count in matrices.items() if types.get(name, GgmlType.F32) not in FLOAT_TYPES}
    parameters = {name: count + _scales(types[name], count) for name, count in trained.items()}
    of_blocks = [[name for name in trained if name.startswith(f"blk.{number}.")] for number in range(sizes.layers)]
    embedding = next(tensor for tensor in model.tensors if tensor.name == "token_embd.weight")
    return Sizes(
        sizes, sum(matrices.values()), max(matrices.values()), embedding.row_count, sum(trained.values()),
        sum(parameters.values()), sum(parameters.values()) - sum(trained.values()),
        [(sum(trained[name] for name in names), sum(parameters[name] for name in names)) for names in of_blocks],
        sum(sum(t.shape) for t in model.tensors if len(t.shape) == 2 and t.name.startswith("blk.")),
    )  # fmt: skip


def _scales(type_: GgmlType, weights: int) -> int:
    """Steps, minima, and the scales of both, of so many weights."""
    quant, block = quants.find(type_), BLOCK_SHAPE[type_].weights
    if quant.grid is not None:
        group, kinds = quant.grid.group, 2 if quant.grid.sign else 1
    else:
        group, kinds = (block if quant.lattice is None else quant.lattice.group), 1
    return kinds * (-(-weights // group) + -(-weights // block))


def bound(job: TrainJob, outline: Sequence[PhaseOutline], sizes: Sizes, chunks: int, rounded_for: int = 0) -> Bound:
    """For a training on so many chunks, from a start that is rounded for so many tokens."""
    bounds = [Bound(dict(_parts(job, phase, sizes, chunks)), phase.name) for phase in outline]
    if rounded_for:
        width, inner = sizes.hyperparameters.width, sizes.hyperparameters.feed_forward
        rounding = 4 * _STREAMS * rounded_for * width + 4 * _MOMENTS * max(width, inner) ** 2
        bounds.append(Bound({"program": _PROGRAM, "float model": 4 * sizes.weights, "rounding": rounding}, "the start"))
    return max(bounds, key=lambda each: each.nbytes)


def _parts(job: TrainJob, phase: PhaseOutline, sizes: Sizes, chunks: int) -> Iterator[tuple[str, int]]:
    tokens, blockwise = job.batch * job.context, phase.block is not None
    decoded, parameters = sizes.trained, sizes.parameters
    if phase.block is not None:
        decoded, parameters = sizes.blocks[phase.block]
    if Role.ADAPTERS in phase.roles:
        decoded, parameters = 0, job.rank * sizes.sides
    elif Role.WEIGHTS not in phase.roles:
        parameters = sizes.scales
    layers = 1 if blockwise else sizes.hyperparameters.layers
    kept = layers * _layer(job, sizes.hyperparameters)
    if job.gradient_checkpointing and not blockwise:
        kept = layers * sizes.hyperparameters.width + _layer(job, sizes.hyperparameters)
    yield "program", _PROGRAM
    if Role.ADAPTERS in phase.roles:
        yield "file", _PACKED * sizes.trained + 4 * (sizes.weights - sizes.trained) + 4 * parameters
    else:
        yield "float model", 4 * sizes.weights
        yield "file", 4 * (sizes.weights - sizes.trained) + 4 * sizes.parameters + sizes.trained
    yield "gradients", 4 * parameters
    yield "optimizer", 8 * parameters
    yield "best", 0 if blockwise else 4 * parameters
    yield "decoded", _DECODED * decoded + 4 * _TEMPORARY * sizes.largest
    # A layer of the float model's forward pass is there too.
    yield "activations", 4 * tokens * (kept + _layer(job, sizes.hyperparameters))
    yield "logits", 0 if blockwise else 4 * _LOGITS * min(tokens * sizes.vocabulary, logits.AT_ONCE)
    # Both streams, and while they are made the parts of one.
    yield "streams", 12 * chunks * job.context * sizes.hyperparameters.width if blockwise else 0


def _layer(job: TrainJob, sizes: Hyperparameters) -> int:
    """Numbers that a layer keeps for each token."""
    inner = sizes.feed_forward if sizes.mixing is None else sizes.mixing.used * sizes.mixing.feed_forward
    scores = 3 * sizes.heads * job.context if sizes.score_cap else 0
    return (
        _WIDTHS * sizes.width
        + _QUERIES * sizes.heads * sizes.head_width
        + _KEYS * sizes.key_value_heads * sizes.head_width
        + _INNER * inner
        + scores
    )


def refuse_small(limit: Bound, available: int | None, where: str) -> None:
    """InputError when a machine has less memory than training may take."""
    if available is not None and available < limit.nbytes:
        raise InputError(
            f"training takes up to {limit.nbytes} bytes ({size(limit.nbytes)}) of memory in {limit.phase}, "
            f"{where} has {available} ({size(available)})",
            hint="--batch and --ctx take smaller ones, --gradient-checkpointing keeps less",
        )
