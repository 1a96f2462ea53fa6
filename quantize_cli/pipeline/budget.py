"""A budget in bytes, bits or memory, and the recipe that makes the most of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli import quants
from quantize_cli.budget.choice import recipe_within
from quantize_cli.budget.frontier import next_points
from quantize_cli.budget.memory import memory_besides_file
from quantize_cli.budget.options import TypeChoices, quantizable_tensors, type_choices
from quantize_cli.budget.rounding import TrialRounding
from quantize_cli.budget.search import OverBudgetError
from quantize_cli.budget.sensitivity import TYPES, Effort, Sensitivities, measure
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.source import Model
from quantize_cli.pipeline.job import Job
from quantize_cli.pipeline.recipe import Recipe, Rule, block_type
from quantize_cli.progress import SILENT, Report
from quantize_cli.units import nbytes_of, size

_TOKENS_RUN = 512
"""Tokens on which the model is run with each tensor rounded."""


@dataclass(frozen=True)
class Budget:
    """What a file may take; one of the first three is given."""

    size: str | None = None
    """Of the whole file."""
    bits_per_weight: float | None = None
    """Of the tensors, as `plan` counts them."""
    fits: str | None = None
    """Memory for the file, a cache of keys and values, and the program."""
    context: int | None = None
    """Positions the cache has room for; all that the model was trained on unless told."""
    types: tuple[GgmlType, ...] | None = None
    """To choose from; None for what is best."""

    def __post_init__(self) -> None:
        given = {"--size": self.size, "--bpw": self.bits_per_weight, "--fits": self.fits}
        names = [name for name, value in given.items() if value is not None]
        if len(names) != 1:
            raise UsageError(f"{' and '.join(names) or 'neither --size, --bpw nor --fits'}: one is the budget")
        if self.bits_per_weight is not None and not 0 < self.bits_per_weight <= 32:
            raise UsageError(f"--bpw {self.bits_per_weight}: not above 0 and at most 32")
        for name, text in (("--size", self.size), ("--fits", self.fits)):
            if text is not None:
                nbytes_of(name, text)

    def nbytes(self, model: Model, options: TypeChoices, report: Report = SILENT) -> int:
        """Bytes the whole file may have; tells what was assumed. OverBudgetError if memory leaves none."""
        if self.size is not None:
            return nbytes_of("--size", self.size)
        if self.bits_per_weight is not None:
            weights = sum(prod(tensor.shape) for tensor in model.tensors)
            return options.header_nbytes + int(self.bits_per_weight * weights / 8)
        assert self.fits is not None
        return _left(nbytes_of("--fits", self.fits), model, self.context, report)


def budget_of(job: Job) -> Budget | None:
    """The budget, if the job has one."""
    if not job.has_budget:
        if job.types:
            raise UsageError("--types: there is no budget to choose for", hint="--size, --bpw or --fits")
        return None
    return Budget(job.size, job.bits_per_weight, job.fits, types=named_types(job.types) if job.types else None)


def named_types(names: Sequence[str]) -> tuple[GgmlType, ...]:
    """The block types of these names; UsageError for what is none, InputError for one we cannot write."""
    types = tuple(block_type(name.strip(), "--types") for name in names)
    for type_ in types:
        quants.find(type_)
    return types


def _left(memory: int, model: Model, context: int | None, report: Report) -> int:
    taken = memory_besides_file(model, context)
    left = memory - taken.nbytes
    report.note(
        f"{size(memory)} of memory: {size(taken.cache)} for an f16 cache of {taken.context} tokens, "
        f"{size(taken.buffers)} for activations, {size(taken.program)} for the program, {size(max(0, left))} are left"
    )
    if left <= 0:
        raise OverBudgetError(f"{memory} bytes of memory leave none for the file: {taken.nbytes} are taken besides")
    return left


def search_recipe(
    model: Model,
    budget: Budget,
    chunks: np.ndarray,
    provenance: Mapping[str, Value] | None = None,
    rules: Sequence[Rule] = (),
    rounding: TrialRounding | None = None,
    types: Sequence[GgmlType] = TYPES,
    reserved: int = 0,
    report: Report = SILENT,
) -> tuple[Recipe, Sensitivities]:
    """The best recipe within the budget, as measured on `chunks`; tells what more bytes would buy.

    `rules` are of tensors that have a type already, `provenance` is metadata that the file will have besides, and
    `reserved` bytes are left for what else it will say. Others may have `types`.
    """
    found = measure_sensitivities(model, chunks, types, rounding, report)
    options = type_choices(model, found.losses, provenance, rules)
    nbytes = budget.nbytes(model, options, report) - reserved
    recipe = recipe_within(model, options, nbytes)
    for line in describe_choice(options, nbytes):
        report.note(line)
    return recipe, found


def measure_sensitivities(
    model: Model, chunks: np.ndarray, types: Sequence[GgmlType], rounding: TrialRounding | None, report: Report
) -> Sensitivities:
    """What each tensor costs in each type; tells how far it is."""
    with report.progress(len(quantizable_tensors(model)), " tensors", "sensitivities") as advance:
        effort = Effort(chunks=max(1, _TOKENS_RUN // chunks.shape[1]))
        return measure(model, chunks, types, rounding, advance, effort)


def describe_choice(options: TypeChoices, nbytes: int) -> list[str]:
    """The choice, and what more bytes would buy."""
    (_, now), *more = next_points(options, nbytes)
    lines = [f"{now.nbytes} of {nbytes} bytes are used, predicted KL divergence {now.loss:.5f}"]
    lines += [f"{size(budget - nbytes)} more would give {point.loss:.5f}" for budget, point in more]
    if not more:
        lines.append("more bytes would buy nothing")
    return lines
