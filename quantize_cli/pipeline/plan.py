"""The plan: every tensor's type, size and offset, with reasons, before a byte is read or written."""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import prod

import numpy as np

from quantize_cli import plugins
from quantize_cli.errors import IMPORTANCE_HINT, InputError, UsageError
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, QUANTIZATION_VERSION, FileType, GgmlType
from quantize_cli.formats.gguf import shards
from quantize_cli.formats.gguf.layout import TensorInfo, Value, u32
from quantize_cli.formats.gguf.writer import FileLayout, lay_out
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import FileStamps
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import globs
from quantize_cli.pipeline.fallbacks import fitting
from quantize_cli.pipeline.recipe import Recipe
from quantize_cli.pipeline.roles import ROLES, layer_of, why_kept

REFUSED_WITHOUT_IMPORTANCE = frozenset(
    {GgmlType.IQ1_S, GgmlType.IQ1_M, GgmlType.IQ2_XXS, GgmlType.IQ2_XS, GgmlType.IQ2_S, GgmlType.IQ3_XXS}
)
"""Types of too few bits to be chosen well from the weights alone (tensor_requires_imatrix)."""

Importance = Mapping[str, np.ndarray]
"""By tensor name, (matrices, columns) f32: what an error in each column of each matrix costs."""


@dataclass(frozen=True)
class Step:
    """One tensor of the file to be: what it is made from, in which type and why, and where it goes."""

    tensor: Tensor
    type: GgmlType
    reason: str
    offset: int = 0
    """From the start of the file."""
    replaces: GgmlType | None = None
    """The type that the recipe names, where rows do not fill its blocks."""

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.tensor.name, self.tensor.shape, self.type)

    @property
    def nbytes(self) -> int:
        return self.info.nbytes


@dataclass(frozen=True)
class Plan:
    """A whole file before it is written."""

    recipe: Recipe
    steps: tuple[Step, ...]
    metadata: Mapping[str, Value] = field(compare=False)
    """Compared by the bytes of the header, as its arrays are numpy's or lists."""
    layout: FileLayout
    sources: FileStamps = field(default_factory=dict, repr=False)
    """The files it is made from, as they were when it was planned."""

    @property
    def nbytes(self) -> int:
        return self.layout.nbytes

    @property
    def weights(self) -> int:
        return sum(prod(step.tensor.shape) for step in self.steps)

    @property
    def bits_per_weight(self) -> float:
        """Of the tensors alone, without metadata."""
        return bits_per_weight(self.steps)

    @property
    def types(self) -> dict[GgmlType, int]:
        """How many tensors of each type, most first."""
        return dict(Counter(step.type for step in self.steps).most_common())


def bits_per_weight(steps: Sequence[Step]) -> float:
    """Bits of a weight on average; 0 where there are no weights."""
    weights = sum(prod(step.tensor.shape) for step in steps)
    return 8 * sum(step.nbytes for step in steps) / weights if weights else 0.0


def make(
    model: Model,
    recipe: Recipe,
    weighted: Collection[str] | None = None,
    provenance: Mapping[str, Value] | None = None,
    requantize: bool = False,
) -> Plan:
    """Decide everything about the file that `model` becomes under `recipe`.

    `weighted` names the tensors that have an importance, or of which a method knows more than that; an Importance will
    do. `provenance` is metadata on the importance.

    InputError for a tensor that cannot be read as numbers or has no implementation for its type, for one already
    quantized unless `requantize`, and for one whose type needs an importance it does not have; UsageError for an
    override that names nothing, FormatError for names and shapes no GGUF file may hold.
    """
    steps = decide(model, recipe, weighted is not None, requantize)
    _refuse_unweighted(steps, recipe, weighted, (provenance or {}).get("quantize.imatrix.file"))
    metadata = dict(model.metadata)
    metadata["general.file_type"] = u32(recipe.file_type)
    metadata["general.quantization_version"] = u32(QUANTIZATION_VERSION)
    metadata.update(provenance or {})
    return lay_out_steps(recipe, steps, metadata, model.files)


def decide(model: Model, recipe: Recipe, has_importance: bool, requantize: bool) -> list[Step]:
    """The type of each tensor and why, without offsets; raises what `make` does but for an importance that lacks."""
    kept = {tensor.name: reason for tensor in model.tensors if (reason := why_kept(tensor)) is not None}
    candidates = [tensor for tensor in model.tensors if tensor.name not in kept]
    _refuse_idle_overrides(recipe, candidates, kept)
    chosen = recipe.choose(candidates, model.metadata, has_importance)
    steps: list[Step] = []
    for tensor in model.tensors:
        if tensor.name in kept:
            steps.append(_keep(model, tensor, recipe, kept[tensor.name]))
        else:
            steps += _fit(tensor, *chosen[tensor.name], requantize)
    return steps


def lay_out_steps(recipe: Recipe, steps: Sequence[Step], metadata: Mapping[str, Value], sources: FileStamps) -> Plan:
    """The plan of these steps, each with its offset."""
    layout = lay_out(metadata, [step.info for step in steps])
    placed = tuple(replace(step, offset=offset) for step, offset in zip(steps, layout.offsets, strict=True))
    return Plan(recipe, placed, metadata, layout, sources)


def with_metadata(plan: Plan, claims: Mapping[str, Value]) -> Plan:
    """The same plan with more metadata, which moves its tensors."""
    return lay_out_steps(plan.recipe, plan.steps, {**plan.metadata, **claims}, plan.sources)


def split(plan: Plan, limit: int) -> tuple[Plan, ...]:
    """The plan in parts whose tensors are at most `limit` bytes each, one larger tensor alone in its part.

    The first part has the metadata; all are marked as llama-gguf-split marks them. A plan within the limit stays whole.
    """
    parts: list[list[Step]] = [[]]
    room = limit
    for step in plan.steps:
        if parts[-1] and step.nbytes > room:
            parts.append([])
            room = limit
        parts[-1].append(step)
        room -= step.nbytes
    if len(parts) == 1:
        return (plan,)
    marked = [shards.split_metadata(number, len(parts), len(plan.steps)) for number in range(len(parts))]
    marked[0] = {**plan.metadata, **marked[0]}
    paired = zip(parts, marked, strict=True)
    return tuple(lay_out_steps(plan.recipe, steps, marks, plan.sources) for steps, marks in paired)


def stand_ins(plan: Plan) -> str | None:
    """What to say where most weights are in types that the recipe does not name, as rows do not fill its blocks."""
    replaced = Counter[tuple[GgmlType, GgmlType, int]]()
    for step in plan.steps:
        if step.replaces is not None:
            replaced[step.replaces, step.type, step.tensor.columns] += prod(step.tensor.shape)
    if 2 * replaced.total() < plan.weights:
        return None
    (named, used, columns), _ = replaced.most_common(1)[0]
    share = round(100 * replaced.total() / plan.weights)
    return (
        f"{plan.recipe.name}: {share} % of the weights are in larger types, most "
        f"of them in {used.name.lower()}, as rows of {columns} do not fill blocks of {BLOCK_SHAPE[named].weights}: "
        f"{plan.bits_per_weight:.2f} bits per weight; --size chooses among the types that fit"
    )


def _keep(model: Model, tensor: Tensor, recipe: Recipe, reason: str) -> Step:
    """A tensor that is not quantized: float32 out of a checkpoint, as it is out of a GGUF file."""
    if recipe.file_type is FileType.F32 and tensor.type in FLOAT_TYPES:
        return Step(tensor, GgmlType.F32, reason)
    if model.is_gguf or tensor.type not in FLOAT_TYPES:
        return Step(tensor, tensor.type, f"{reason}, kept as it is")
    return Step(tensor, GgmlType.F32, f"{reason}, kept in f32")


def _fit(tensor: Tensor, type_: GgmlType, reason: str, requantize: bool) -> tuple[Step, ...]:
    """A tensor in this type or one that fits its rows, and a scale beside it where its blocks lack one."""
    substitute, misfit = fitting(type_, tensor.columns)
    if tensor.type not in FLOAT_TYPES and tensor.type is not substitute:
        _refuse_unreadable(tensor, requantize)
    if substitute.name.lower() not in plugins.names("quants"):
        raise InputError(
            f"tensor {quoted(tensor.name)}: writing {substitute.name.lower()} is not supported",
            hint="supported: " + ", ".join(plugins.names("quants")),
        )
    reason = f"{reason}; {misfit}" if misfit else reason
    if tensor.scheme:
        return _from_scheme(tensor, substitute, reason)
    return (Step(tensor, substitute, reason, replaces=type_ if misfit else None),)


def _from_scheme(tensor: Tensor, type_: GgmlType, reason: str) -> tuple[Step, ...]:
    """What another tool quantized, with its codes where the type can hold them."""
    if how := tensor.repacking(type_):
        step = Step(tensor.repacked(type_), type_, f"{reason}; repacked from {tensor.scheme}, {how}")
        scale = tensor.scale_beside(type_)
        return (step,) if scale is None else (step, Step(scale, GgmlType.F32, f"the scale of {quoted(tensor.name)}"))
    rounded = "" if type_ is GgmlType.F32 else ", rounded again"
    return (Step(tensor, type_, f"{reason}; dequantized from {tensor.scheme}{rounded}"),)


def _refuse_unreadable(tensor: Tensor, requantize: bool) -> None:
    """Numbers that are no weights, and weights that are quantized already, unless that is wanted."""
    name = tensor.type.name.lower()
    if BLOCK_SHAPE[tensor.type].weights == 1:
        raise InputError(f"{tensor.origin}: {name}, not f32, f16 or bf16")
    if not requantize:
        raise InputError(
            f"{tensor.origin}: already {name}, not f32, f16 or bf16",
            hint="quantize from the original weights; --allow-requantize adds one error to another",
        )
    if name not in plugins.names("quants"):
        raise InputError(f"{tensor.origin}: reading {name} is not supported")


def _refuse_unweighted(
    steps: Sequence[Step], recipe: Recipe, weighted: Collection[str] | None, file: Value | None
) -> None:
    """`file` is the name of the importance matrix, None where the importance is of a text."""
    for step in steps:
        if step.tensor.name in (weighted or ()) or step.type is step.tensor.type:
            continue
        small = recipe.file_type is FileType.Q2_K_S and step.type is GgmlType.Q2_K
        if step.type in REFUSED_WITHOUT_IMPORTANCE or (small and layer_of(step.tensor.name) >= 0):
            name, type_ = step.tensor.name, step.type.name.lower()
            needs = f"tensor {quoted(name)}: {type_} needs an importance matrix"
            if weighted is None:
                raise InputError(needs, IMPORTANCE_HINT)
            raise InputError(
                f"{needs}, and {'the text' if file is None else quoted(str(file.data))} has no entry for it",
                hint=f"quantize calibrate makes one of this model, or --tensor {shlex.quote(name + '=q4_k')}",
            )


def unweighted(plan: Plan, importance: Importance) -> list[str]:
    """Weights of the layers that are rounded without the importance that others have: it has no entry for them.

    Embedding and output are not counted, of which llama-imatrix collects nothing unless it is told to.
    """
    return [
        step.tensor.name
        for step in plan.steps
        if step.type not in (*FLOAT_TYPES, step.tensor.type)
        and layer_of(step.tensor.name) >= 0
        and step.tensor.name not in importance
    ]


def idle_rules(recipe: Recipe, model: Model) -> list[str]:
    """What to say of each rule of a recipe whose pattern names no tensor of the model."""
    patterns = [rule.tensors for rule in recipe.rules if rule.tensors not in ROLES]
    names = [tensor.name for tensor in model.tensors if why_kept(tensor) is None]
    return [
        f"recipe {recipe.name}: {quoted(pattern)} matches no tensor that is quantized; {globs.advice(pattern, names)}"
        for pattern in dict.fromkeys(patterns)
        if not any(fnmatchcase(name, pattern) for name in names)
    ]


def _refuse_idle_overrides(recipe: Recipe, candidates: Sequence[Tensor], kept: Mapping[str, str]) -> None:
    for rule in recipe.overrides:
        if any(rule.names(tensor) for tensor in candidates):
            continue
        still = next((name for name in kept if fnmatchcase(name, rule.tensors)), None)
        hint = globs.advice(rule.tensors, [tensor.name for tensor in candidates])
        if still is not None:
            hint = f"{quoted(still)} is kept as it is: {kept[still]}"
        raise UsageError(f"--tensor {quoted(rule.tensors)}: matches no tensor that is quantized", hint)
