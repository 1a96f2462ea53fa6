"""What may be chosen for each tensor: types, with the bytes they take in the file and the loss they bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantize_cli.formats.ggml import FileType, GgmlType, row_nbytes
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.gguf.rules import alignment_of, padded
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import plan
from quantize_cli.pipeline.fallbacks import fitting
from quantize_cli.pipeline.recipe import Recipe, Rule
from quantize_cli.pipeline.roles import why_kept

Losses = Mapping[str, Mapping[GgmlType, float]]
"""By tensor name and type, what the model loses when that tensor alone has that type."""


@dataclass(frozen=True)
class TypeChoice:
    """One type that a tensor may have."""

    type: GgmlType
    nbytes: int
    """In the file, the padding behind the tensor included."""
    loss: float


@dataclass(frozen=True)
class TypeChoices:
    """The options of every tensor that is quantized, and what the file holds besides them."""

    options: Mapping[str, tuple[TypeChoice, ...]]
    """By tensor name, the smallest first; each loses less than those before it."""
    fixed_nbytes: int
    """Header, metadata, and the tensors that are kept."""
    header_nbytes: int = 0
    """Of these the header with its metadata."""

    @property
    def smallest(self) -> int:
        """Bytes of the smallest file that can be made."""
        return self.fixed_nbytes + sum(choices[0].nbytes for choices in self.options.values())

    @property
    def largest(self) -> int:
        """Bytes of the file beyond which nothing is gained."""
        return self.fixed_nbytes + sum(choices[-1].nbytes for choices in self.options.values())


def quantizable_tensors(model: Model) -> list[Tensor]:
    """The tensors whose types are chosen."""
    return [tensor for tensor in model.tensors if why_kept(tensor) is None]


def type_choices(
    model: Model, losses: Losses, provenance: Mapping[str, Value] | None = None, rules: Sequence[Rule] = ()
) -> TypeChoices:
    """The options of a model whose losses are known; `provenance` is metadata that the file will have besides.

    A tensor that one of `rules` matches has the type of the first such rule and no other. One whose losses are not
    known is kept in f16. InputError for a tensor that cannot be read as weights.
    """
    uniform = Recipe("budget", GgmlType.F16, FileType.GUESSED)
    planned = plan.make(model, uniform, provenance=provenance)  # of types that are all there: only sizes are wanted
    alignment = alignment_of("", planned.metadata)
    options = {
        tensor.name: pareto_front(_options(tensor, losses.get(tensor.name, {}), rules, alignment))
        for tensor in quantizable_tensors(model)
    }
    fixed = planned.nbytes - sum(
        padded(step.nbytes, alignment) for step in planned.steps if step.tensor.name in options
    )
    return TypeChoices(options, fixed, len(planned.layout.header))


def _options(
    tensor: Tensor, losses: Mapping[GgmlType, float], rules: Sequence[Rule], alignment: int
) -> Sequence[TypeChoice]:
    ruled = next((rule.type for rule in rules if rule.names(tensor)), None)
    types = losses if ruled is None and losses else (fitting(ruled or GgmlType.F16, tensor.columns)[0],)
    return [
        TypeChoice(
            type_, padded(tensor.row_count * row_nbytes(type_, tensor.columns), alignment), losses.get(type_, 0.0)
        )
        for type_ in types
    ]


def pareto_front(options: Sequence[TypeChoice]) -> tuple[TypeChoice, ...]:
    """Those that no other beats in both bytes and loss, the smallest first."""
    kept: list[TypeChoice] = []
    for option in sorted(options, key=lambda option: (option.nbytes, option.loss)):
        if not kept or option.loss < kept[-1].loss:
            kept.append(option)
    return tuple(kept)
