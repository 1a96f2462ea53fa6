"""What each tensor costs in each type: the divergence of the model when that tensor alone is rounded.

It is run for one type that loses little, where losses of several tensors add up and grow with the square of the error;
for the other types it follows from what their rounding adds to the tensor's output, measured on the same activations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from quantize_cli import quants
from quantize_cli.budget.inputs import LayerInputs, TensorInputs
from quantize_cli.budget.options import Losses, quantizable_tensors
from quantize_cli.budget.rounding import Round, TrialRounding, by_importance
from quantize_cli.budget.trial import Loss, Trials
from quantize_cli.calibration.statistics.observer import ObservedLayers, Observer
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType, row_nbytes
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.fallbacks import fitting
from quantize_cli.pipeline.plan import REFUSED_WITHOUT_IMPORTANCE, Importance
from quantize_cli.pipeline.roles import layer_of
from quantize_cli.runtime.substitution import tensor_names
from quantize_cli.runtime.transformer import Transformer, from_model

TYPES = tuple(
    GgmlType[name]
    for name in ("IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
)  # fmt: skip
"""The types that are measured by default."""
_SAMPLE = 1024
"""Activations on which the error of a tensor's output is measured."""
_ROUNDED = 1 << 18
"""Weights of a tensor that are rounded to types for which the model is not run, to know their error."""
_TINY = 1e-30
_UNSEEN = 1e-9
"""Loss of rounding all of a tensor away where the text shows none, so that spare bytes still go somewhere."""


@dataclass(frozen=True)
class Sensitivity:
    """One tensor, its losses and its activations."""

    name: str
    shape: tuple[int, ...]
    losses: Mapping[GgmlType, float]
    """Mean KL divergence over all positions, by type, the smallest type first."""
    run: frozenset[GgmlType]
    """The types for which the model was run."""
    errors: Mapping[GgmlType, float]
    """Squared error of the tensor's output, as a share of its square."""
    inputs: TensorInputs | None = field(repr=False)
    """Its activations; None for a token embedding, which multiplies nothing."""

    @property
    def layer(self) -> int:
        """-1 for none."""
        return layer_of(self.name)

    def nbytes(self, type_: GgmlType) -> int:
        return prod(self.shape[:-1]) * row_nbytes(type_, self.shape[-1])


@dataclass(frozen=True)
class Sensitivities:
    """Of all tensors that are quantized, in the order in which they act."""

    tensors: tuple[Sensitivity, ...]
    tokens: int
    """Whose activations were looked at."""
    tokens_run: int
    """On which the model was run with each tensor rounded."""

    @property
    def losses(self) -> Losses:
        return {tensor.name: tensor.losses for tensor in self.tensors}

    @property
    def importance(self) -> Importance:
        """What an error in each column of each matrix costs, collected on the way."""
        return {tensor.name: tensor.inputs.importance() for tensor in self.tensors if tensor.inputs is not None}


@dataclass(frozen=True)
class Effort:
    """How much is run."""

    types: Sequence[GgmlType] = (GgmlType.Q3_K,)
    """The model is run for those of a tensor's types that are among these, or for the next larger one."""
    chunks: int | None = None
    """On so many chunks, by default all. Two of 256 tokens ranked 300 losses as 16 did: Spearman's rho was 0.997."""
    transformer: Transformer | None = None
    """What is run besides the tensor under trial: the model, unless it is to be the same stored otherwise."""


def measure(
    model: Model,
    chunks: np.ndarray,
    types: Sequence[GgmlType] = TYPES,
    rounding: TrialRounding | None = None,
    report: Callable[[int], None] = lambda done: None,
    effort: Effort = Effort(),
) -> Sensitivities:
    """The sensitivities of a model on `chunks` (sequences, context) of tokens; `report` is called after each tensor.

    Weights are rounded by `rounding`, else with the mean squares of their activations for importance. Each tensor has
    of `types` those that its rows fill, or what stands in for them, and that do not need an importance it has not.
    InputError for tokens the model does not have, and for one whose predictions are not finite.
    """
    measurement = _Measurement(model, chunks, types, rounding, effort)
    return Sensitivities(tuple(measurement.all(report)), chunks.size, chunks[: effort.chunks].size)


class _Measurement:
    """A measurement in progress: the model reads the text once, and each layer's tensors are tried where they stand."""

    def __init__(
        self,
        model: Model,
        chunks: np.ndarray,
        types: Sequence[GgmlType],
        rounding: TrialRounding | None,
        effort: Effort,
    ) -> None:
        transformer = effort.transformer or from_model(model, rounding.threads if rounding else None)
        self._quantized = {tensor.name: tensor for tensor in quantizable_tensors(model)}
        self._chunks, self._types, self._run = chunks, types, effort.types
        self._text = ObservedLayers(transformer, chunks)
        self._trials = Trials(transformer, chunks[: effort.chunks])
        self._rounding = rounding or by_importance(transformer.threads.count)
        self._threads = transformer.threads.count
        self._encode: Round
        self._moments: np.ndarray | None = None
        """What `_encode` was prepared for."""

    def all(self, report: Callable[[int], None]) -> list[Sensitivity]:
        """The embedding is tried last, as it may be the output matrix too, which is given what the last layer makes."""
        trials, text = self._trials, self._text
        layers: list[Sensitivity] = []
        for index, layer in enumerate(trials.transformer.layers):
            loss = trials.of_layer(index, text.stream[: trials.tokens.size].copy())
            inputs = self._observed()
            for name in tensor_names(layer):
                layers += self._tried(name, loss, inputs, report)
        text.runner.finish(text.stream)
        output, embedding = trials.transformer.output.matrix.tensor.name, trials.transformer.embedding.tensor.name
        observer = Observer()
        inputs = LayerInputs(observer, _SAMPLE, self._rounding.needs_moments, self._threads)
        observer(output, 0, text.stream)
        last = [] if trials.is_tied else self._tried(output, trials.of_output, inputs, report)
        return [*self._tried(embedding, trials.of_embedding, inputs, report), *layers, *last]

    def _observed(self) -> LayerInputs:
        """Take the text through the next layer, and tell what its tensors were given."""
        observer, text = Observer(), self._text
        sample = max(1, _SAMPLE // len(list(text.runner.parts(text.stream))))
        inputs = LayerInputs(observer, sample, self._rounding.needs_moments, self._threads)
        text.observe(observer, self._quantized.__contains__)
        return inputs

    def _tried(self, name: str, loss: Loss, observed: LayerInputs, report: Callable[[int], None]) -> list[Sensitivity]:
        """The sensitivity of a tensor, if it is one that is quantized; `report` is called when it is known."""
        if name not in self._quantized:
            return []
        tensor = self._quantized[name]
        inputs = observed.of(tensor)
        encode = self._encoder(inputs)
        weights = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
        rows = self._sampled_rows(tensor, inputs)
        sample = weights[rows]
        whole, plain = _output(inputs, sample), _square(sample)
        if not np.isfinite(_square(weights)):
            raise InputError(f"{tensor.origin}: its weights are not finite, or their squares")
        errors, least, losses = {}, {}, {}
        types = self._candidates(tensor, inputs)
        tried = self._to_run(types)
        for type_ in types:
            if type_ in tried:
                rounded = quants.decode(type_, encode(type_, weights))
                losses[type_] = loss(name, rounded)
                error = rounded[rows] - sample
            else:
                error = quants.decode(type_, encode(type_, sample)) - sample
            errors[type_] = _share(_output(inputs, error), whole)
            least[type_] = _UNSEEN * _share(_square(error), plain)
        bounded = {type_: max(lost, least[type_]) for type_, lost in extrapolated(losses, errors).items()}
        finite = {type_: lost for type_, lost in bounded.items() if np.isfinite(lost)}  # a scale in f16 may overflow
        report(1)
        if inputs is not None:  # the moments of all tensors together would fill memory
            inputs = replace(inputs, moments=None)
        return [Sensitivity(name, tensor.shape, finite, frozenset(tried), errors, inputs)]

    def _encoder(self, inputs: TensorInputs | None) -> Round:
        """What rounds for these inputs, prepared once for tensors that share their moments."""
        moments = None if inputs is None else inputs.moments
        if moments is None or moments is not self._moments:
            self._moments, self._encode = moments, self._rounding.of(inputs)
        return self._encode

    def _sampled_rows(self, tensor: Tensor, inputs: TensorInputs | None) -> np.ndarray:
        """Rows on which the error is measured: of an embedding those taken, else some of each matrix, evenly spaced."""
        if inputs is None:
            taken: np.ndarray = self._chunks.ravel()
            return taken[:: max(1, taken.size * tensor.columns // _ROUNDED)]
        rows = np.arange(tensor.row_count).reshape(len(inputs.counts), -1)
        return rows[:, :: max(1, rows.size * tensor.columns // _ROUNDED)].ravel()

    def _candidates(self, tensor: Tensor, inputs: TensorInputs | None) -> list[GgmlType]:
        """The types the tensor may have, the smallest first."""
        fitted = {fitting(type_, tensor.columns)[0] for type_ in self._types}
        if inputs is None:
            fitted -= REFUSED_WITHOUT_IMPORTANCE
        if not fitted:
            raise InputError(f"{tensor.origin}: needs an importance for each of the types it may have")
        return sorted(fitted, key=lambda type_: (row_nbytes(type_, tensor.columns), type_.name))

    def _to_run(self, types: Sequence[GgmlType]) -> set[GgmlType]:
        """Those of a tensor's types, the smallest first, for which the model is run."""
        chosen = set(types) & {*self._run}
        if chosen:
            return chosen
        least = min(_bits(type_) for type_ in self._run)
        return {next((type_ for type_ in types if _bits(type_) >= least), types[-1])}


def extrapolated(losses: Mapping[GgmlType, float], errors: Mapping[GgmlType, float]) -> dict[GgmlType, float]:
    """A loss for each error: in proportion, from the loss whose error is nearest."""

    def of(type_: GgmlType) -> float:
        if type_ in losses:
            return losses[type_]
        known = min(losses, key=lambda other: _apart(errors[type_] + _TINY, errors[other] + _TINY))
        return losses[known] * (errors[type_] + _TINY) / (errors[known] + _TINY)

    return {type_: of(type_) for type_ in errors}


def _apart(left: float, right: float) -> float:
    """How many times one of two positive numbers is the other."""
    return max(left / right, right / left)


def _output(inputs: TensorInputs | None, error: np.ndarray) -> float:
    """What an error of the weights adds to the output, squared; of an embedding, the error itself."""
    return _square(error) if inputs is None else inputs.output_error(error)


def _bits(type_: GgmlType) -> float:
    shape = BLOCK_SHAPE[type_]
    return 8 * shape.nbytes / shape.weights


def _square(values: np.ndarray) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
