"""A budget in bytes, bits or memory, and the recipe that makes the most of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from quantize_cli import quants
from quantize_cli.budget.choice import recipe_within
from quantize_cli.budget.frontier import next_points
from quantize_cli.budget.memory import memory_besides_file
from quantize_cli.budget.options import TypeChoices, quantizable_tensors
from quantize_cli.budget.rounding import TrialRounding
from quantize_cli.budget.search import OverBudgetError
from quantize_cli.budget.sensitivity import TYPES, Effort, Sensitivities, measure
from quantize_cli.certificate.statement import LARGEST
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model
from quantize_cli.pipeline.job import Job
from quantize_cli.pipeline.recipe import Recipe, block_type
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
    reserved: int = 0
    """Bytes left for what else the file will say."""

    def __post_init__(self) -> None:
        values = {"--size": self.size, "--bpw": self.bits_per_weight, "--fits": self.fits}
        names = [name for name, value in values.items() if value is not None]
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
            return nbytes_of("--size", self.size) - self.reserved
        if self.bits_per_weight is not None:
            weights = sum(prod(tensor.shape) for tensor in model.tensors)
            return options.header_nbytes + int(self.bits_per_weight * weights / 8) - self.reserved
        assert self.fits is not None
        return _left(nbytes_of("--fits", self.fits), model, self.context, report) - self.reserved


def budget_of(job: Job) -> Budget | None:
    """The budget, if the job has one."""
    if not job.has_budget:
        if job.types:
            raise UsageError("--types: there is no budget to choose for", hint="--size, --bpw or --fits")
        return None
    types = named_types(job.types) if job.types else None
    reserved = 0 if job.certify is None else LARGEST
    return Budget(job.size, job.bits_per_weight, job.fits, types=types, reserved=reserved)


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


def search_recipe(model: Model, budget: Budget, options: TypeChoices, report: Report = SILENT) -> Recipe:
    """The best recipe within the budget, of what each tensor may have; tells what more bytes would buy."""
    nbytes = budget.nbytes(model, options, report)
    recipe = recipe_within(model, options, nbytes)
    (_, chosen), *larger = next_points(options, nbytes)
    report.note(f"{chosen.nbytes} of {nbytes} bytes are used, predicted KL divergence {chosen.loss:.5f}")
    for more, point in larger:
        report.note(f"{size(more - nbytes)} more would give {point.loss:.5f}")
    if not larger:
        report.note("more bytes would buy nothing")
    return recipe


def measure_sensitivities(
    model: Model,
    chunks: np.ndarray,
    types: Sequence[GgmlType] = TYPES,
    rounding: TrialRounding | None = None,
    report: Report = SILENT,
) -> Sensitivities:
    """What each tensor costs in each type, as measured on `chunks`; tells how far it is."""
    with report.progress(len(quantizable_tensors(model)), " tensors", "sensitivities") as advance:
        effort = Effort(chunks=max(1, _TOKENS_RUN // chunks.shape[1]))
        return measure(model, chunks, types, rounding, advance, effort)
