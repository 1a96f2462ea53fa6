"""calibrate: a text is read once, the model prepared for it, the recipe found, and who decides the codes."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from quantize_cli.budget.options import quantizable_tensors, type_choices
from quantize_cli.budget.rounding import TrialRounding, by_importance, by_method
from quantize_cli.budget.sensitivity import TYPES
from quantize_cli.calibration.runner import methods
from quantize_cli.calibration.runner.methods import Methods
from quantize_cli.calibration.statistics.collector import importance_of
from quantize_cli.calibration.statistics.coverage import coverage_warnings
from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import file_sha256
from quantize_cli.errors import UsageError
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.corpus import Reading, read_texts
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.machine import processors
from quantize_cli.model.source import Model
from quantize_cli.pipeline import plan
from quantize_cli.pipeline.budget import budget_of, measure_sensitivities, search_recipe
from quantize_cli.pipeline.decided import Decisions
from quantize_cli.pipeline.job import Job
from quantize_cli.pipeline.load import load_importance
from quantize_cli.pipeline.plan import Importance, Plan
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.pipeline.recipe import Recipe
from quantize_cli.progress import Report
from quantize_cli.runtime.hyperparameters import read_hyperparameters
from quantize_cli.runtime.only_run import refuse_only_run
from quantize_cli.tokenizers import load_tokenizer

_SAMPLED = 8192


def require_text(job: Job) -> None:
    """UsageError for options on texts where there is none."""
    options = {"--ctx": job.context is not None, "--chunks": job.chunks is not None, "--special": job.special}
    option = next((name for name, is_used in options.items() if is_used), None)
    if option is not None and not job.texts:
        missing = "read" if option == "--special" else "cut"
        raise UsageError(f"{option}: there is no text to {missing}", hint="--calibrate FILE")


class Calibrated:
    """The methods chosen, and what they know of the model's inputs."""

    def __init__(self, job: Job, model: Model, has_importance: bool, report: Report) -> None:
        self._job, self._report = job, report
        self.methods: Methods = methods.choose(job.methods, bool(job.texts), has_importance, job.search == "best")
        self.chunks = _chunks(job, model, report) if job.texts else None
        self.experts_without_tokens: dict[str, tuple[int, ...]] = {}
        """By name, the experts that the text never reached, as far as that is known."""

    def claimed(self) -> statement.Calibration | None:
        """The text as a certificate names it; of several, all their names and the digest of their tokens."""
        if self.chunks is None:
            return None
        texts = self._job.texts
        digest = file_sha256(texts[0])
        if len(texts) > 1:
            digest = hashlib.sha256(self.chunks.astype("<i4").tobytes()).hexdigest()
        name = statement.is_readable(", ".join(path.name for path in texts), statement.LONGEST_NAME)
        return statement.Calibration(name, digest, int(self.chunks.size), self.chunks.shape[1])

    @property
    def threads(self) -> int:
        return self._job.threads or processors()

    @property
    def sample(self) -> np.ndarray:
        """Chunks from all over the text, as many as a few thousand tokens make; UsageError without a text."""
        if self.chunks is None:
            raise UsageError("a budget needs a text that tells which tensors matter", hint="--calibrate FILE")
        count = min(len(self.chunks), max(1, _SAMPLED // self.chunks.shape[1]))
        sampled: np.ndarray = self.chunks[np.linspace(0, len(self.chunks) - 1, count).astype(int)]
        return sampled

    @property
    def candidates(self) -> tuple[GgmlType, ...]:
        """Types to choose from: those that the method rounds best."""
        return methods.ERROR_FEEDBACK_TYPES if self.methods.is_sequential else TYPES

    @property
    def trial(self) -> TrialRounding:
        """How tensors are rounded to see what that costs."""
        if not self.methods.is_sequential:
            return by_importance(self.threads)
        return by_method(partial(self.methods.rounder, threads=self.threads), self.threads)

    def folded(self, model: Model, types: Mapping[str, GgmlType]) -> Model:
        """The model as the methods that prepare it leave it."""
        if self.chunks is None or not self.methods.folding:
            return model
        refuse_only_run(model)
        layers = read_hyperparameters(model).layers * len(self.methods.folding)
        with self._report.progress(layers, " layers", ", ".join(self.methods.folding)) as advance:
            return self.methods.fold(model, self.chunks, types, advance)

    def importance(self, model: Model) -> Importance | None:
        """What errors in each column cost by the text, where that is what is wanted."""
        if self.chunks is None or self.methods.is_sequential:
            return None
        with self._report.progress(len(self.chunks), " chunks", "importance") as advance:
            importance, self.experts_without_tokens = importance_of(model, self.chunks, advance, self.threads)
        return importance

    def rounding(self, model: Model, whole: Plan, importance: Importance | None) -> Rounding:
        """Who decides the codes of the plan's weights."""
        if not self.methods.is_sequential or self.chunks is None:
            return Rounding(importance, self.methods.encode)
        changed = {step.tensor.name: step.type for step in whole.steps if step.type is not step.tensor.type}
        types = methods.covered(model, changed)
        sequence, self.experts_without_tokens = self.methods.sequence(model, types, self.chunks, self.threads)
        return Rounding(importance, self.methods.encode, frozenset(types), sequence)


def calibrate(job: Job, model: Model, recipe: Recipe, report: Report) -> Decisions:
    """The plan that a text and methods lead to; of `recipe` only the overrides where there is a budget."""
    importance, provenance = load_importance(job, model)
    require_text(job)
    calibrated = Calibrated(job, model, importance is not None, report)
    sequential = methods.sequential_tensors(model, calibrated.methods)
    budget = budget_of(job)
    if budget is not None:
        types = budget.types or calibrated.candidates
        measured = measure_sensitivities(model, calibrated.sample, types, calibrated.trial, report)
        options = type_choices(model, measured.losses, provenance, recipe.overrides)
        recipe = replace(search_recipe(model, budget, options, report), overrides=recipe.overrides)
        bits = plan.bits_per_weight(plan.decide(model, recipe, True, True))
        recipe = replace(recipe, name=f"{bits:.2f}bpw")
    if calibrated.methods.folding:
        steps = plan.decide(model, recipe, True, job.requantize)
        model = calibrated.folded(model, {step.tensor.name: step.type for step in steps})
    if importance is None:
        importance = calibrated.importance(model)
    weighted = {*(importance or ()), *sequential} or None
    whole = plan.make(model, recipe, weighted, provenance, job.requantize)
    rounding = calibrated.rounding(model, whole, importance)
    method = f"{calibrated.methods.spelled}, special" if job.special else calibrated.methods.spelled
    return Decisions(whole, rounding, method, calibrated.claimed(), calibrated.experts_without_tokens)


def _chunks(job: Job, model: Model, report: Report) -> np.ndarray:
    """The tokens to calibrate on; tells what of them deserves less trust."""
    tokenizer = load_tokenizer(model.metadata)
    context = contexts.chunk_tokens(job.context, [model])
    chunks, _ = read_texts(job.texts, tokenizer, context, job.chunks, Reading(job.special, report.warn))
    columns = {tensor.name: tensor.columns for tensor in quantizable_tensors(model)}
    for warning in (
        *contexts.long_context_warnings(context, [model]),
        *coverage_warnings(chunks, columns, len(tokenizer.pieces)),
    ):
        report.warn(warning)
    report.note(f"calibrating on {chunks.size} tokens, {len(chunks)} chunks of {context}")
    return chunks
