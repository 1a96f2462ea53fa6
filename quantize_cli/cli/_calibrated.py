"""What `--calibrate`, `--method` and `--search` ask for: a text read, a model prepared, and who decides the codes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from quantize_cli.budget.options import quantized
from quantize_cli.budget.rounding import TrialRounding, guided
from quantize_cli.budget.sensitivity import TYPES
from quantize_cli.calibrate.runner import methods
from quantize_cli.calibrate.runner.methods import Methods
from quantize_cli.calibrate.statistics.collector import importance_of
from quantize_cli.calibrate.statistics.thinness import doubts
from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import file_sha256
from quantize_cli.cli._budget import Budget, searched
from quantize_cli.cli._request import Known
from quantize_cli.cli.terminal.options import Search
from quantize_cli.cli.terminal.progress import progress
from quantize_cli.cli.terminal.text import note, warn
from quantize_cli.errors import UsageError
from quantize_cli.evaluate import context as contexts
from quantize_cli.evaluate.corpus import Reading, read_texts
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.machine import processors
from quantize_cli.model.source import Model
from quantize_cli.pipeline import plan
from quantize_cli.pipeline.plan import Importance, Plan
from quantize_cli.pipeline.recipe import Recipe, Rule
from quantize_cli.pipeline.write import Rounding
from quantize_cli.runtime.hyperparameters import read_hyperparameters
from quantize_cli.tokenizers import load_tokenizer

_SAMPLED = 8192


@dataclass(frozen=True)
class Calibration:
    """What the options say."""

    texts: tuple[Path, ...] = ()
    methods: tuple[str, ...] = ()
    context: int | None = None
    limit: int | None = None
    """Chunks of each text."""
    search: Search = Search.reference
    threads: int | None = None
    budget: Budget | None = None
    """Bytes that a recipe is to make the most of."""
    reserved: int = 0
    """Bytes of the budget that are left for what the file will say besides."""
    quiet: bool = False
    special: bool = False
    """Control tokens in the texts are read as such."""

    def __post_init__(self) -> None:
        given = {"--ctx": self.context is not None, "--chunks": self.limit is not None, "--special": self.special}
        option = next((name for name, is_given in given.items() if is_given), None)
        if option is not None and not self.texts:
            missing = "read" if option == "--special" else "cut"
            raise UsageError(f"{option}: there is no text to {missing}", hint="--calibrate FILE")


class Calibrated:
    """The methods chosen, and what they know of the model's inputs."""

    def __init__(self, request: Calibration, model: Model, has_importance: bool) -> None:
        self._request = request
        best = request.search is Search.best
        self.methods: Methods = methods.choose(request.methods, bool(request.texts), has_importance, best)
        self.chunks = _chunks(request, model) if request.texts else None
        self.unreached: dict[str, tuple[int, ...]] = {}
        """By name, the experts that the text never reached, as far as that is known."""

    def claimed(self) -> statement.Calibration | None:
        """The text as a certificate names it; of several, all their names and the digest of their tokens."""
        if self.chunks is None:
            return None
        texts = self._request.texts
        digest = file_sha256(texts[0])
        if len(texts) > 1:
            digest = hashlib.sha256(self.chunks.astype("<i4").tobytes()).hexdigest()
        name = statement.legible(", ".join(path.name for path in texts), statement.LONGEST_NAME)
        return statement.Calibration(name, digest, int(self.chunks.size), self.chunks.shape[1])

    @property
    def threads(self) -> int:
        return self._request.threads or processors()

    def guided(self, model: Model) -> frozenset[str]:
        """Tensors that are known well enough for any type."""
        return methods.guided(model, self.methods)

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
        return methods.FED if self.methods.is_sequential else TYPES

    @property
    def trial(self) -> TrialRounding | None:
        """How tensors are rounded to see what that costs."""
        if not self.methods.is_sequential:
            return None
        return guided(partial(self.methods.rounder, threads=self.threads), self.threads)

    def folded(self, model: Model, types: Mapping[str, GgmlType]) -> Model:
        """The model as the methods that prepare it leave it."""
        if self.chunks is None or not self.methods.folding:
            return model
        layers = read_hyperparameters(model).layers * len(self.methods.folding)
        with progress(layers, " layers", ", ".join(self.methods.folding), self._request.quiet) as advance:
            return self.methods.fold(model, self.chunks, types, advance)

    def importance(self, model: Model) -> Importance | None:
        """What errors in each column cost by the text, where that is what is wanted."""
        if self.chunks is None or self.methods.is_sequential:
            return None
        with progress(len(self.chunks), " chunks", "importance", self._request.quiet) as advance:
            found, self.unreached = importance_of(model, self.chunks, advance)
        return found

    def rounding(self, model: Model, made: Plan) -> Rounding:
        """Who decides what stands for the weights of the plan."""
        if not self.methods.is_sequential or self.chunks is None:
            return Rounding(self.methods.encode)
        changed = {step.tensor.name: step.type for step in made.steps if step.type is not step.tensor.type}
        types = methods.covered(model, changed)
        sequence, self.unreached = self.methods.sequence(model, types, self.chunks, self.threads)
        return Rounding(self.methods.encode, frozenset(types), sequence)


def known_by(
    request: Calibration,
    model: Model,
    recipe: Recipe,
    importance: Importance | None,
    provenance: Mapping[str, Value],
    requantize: bool,
) -> Known:
    """The plan that a text and methods lead to; of `recipe` only the overrides where there is a budget."""
    calibrated = Calibrated(request, model, importance is not None)
    guided = calibrated.guided(model)
    if request.budget is not None:
        recipe = _within(request, model, calibrated, provenance, recipe.overrides)
    if calibrated.methods.folding:
        model = calibrated.folded(model, _types(model, recipe, requantize))
    if importance is None:
        importance = calibrated.importance(model)
    made = plan.make(model, recipe, importance, provenance, requantize, guided)
    rounding = calibrated.rounding(model, made)
    method = f"{calibrated.methods.spelled}, special" if request.special else calibrated.methods.spelled
    return Known(made, importance, rounding, method, calibrated.claimed(), calibrated.unreached)


def _within(
    request: Calibration, model: Model, calibrated: Calibrated, provenance: Mapping[str, Value], rules: Sequence[Rule]
) -> Recipe:
    """The recipe that makes the most of the budget, called by the bits it comes to."""
    assert request.budget is not None
    found, _ = searched(
        model, request.budget, calibrated.sample, provenance, rules, calibrated.trial,
        request.budget.types or calibrated.candidates,
        reserved=request.reserved, quiet=request.quiet,
    )  # fmt: skip
    found = replace(found, overrides=tuple(rules))
    bits = plan.make(model, found, None, None, True, _names(model)).bits_per_weight
    return replace(found, name=f"{bits:.2f}bpw")


def _types(model: Model, recipe: Recipe, requantize: bool) -> dict[str, GgmlType]:
    """Of the tensors, whatever is known of them."""
    return {
        step.tensor.name: step.type for step in plan.make(model, recipe, None, None, requantize, _names(model)).steps
    }


def _names(model: Model) -> frozenset[str]:
    return frozenset(tensor.name for tensor in model.tensors)


def _chunks(request: Calibration, model: Model) -> np.ndarray:
    """The tokens to calibrate on; says what of them deserves less trust."""
    tokenizer = load_tokenizer(model.metadata)
    context = contexts.chosen(request.context, [model])
    reading = Reading(request.special, warn)
    chunks, _ = read_texts(request.texts, tokenizer, context, request.limit, reading)
    columns = {tensor.name: tensor.columns for tensor in quantized(model)}
    for warning in (*contexts.beyond(context, [model]), *doubts(chunks, columns, len(tokenizer.pieces))):
        warn(warning)
    if not request.quiet:
        note(f"calibrating on {chunks.size} tokens, {len(chunks)} chunks of {context}")
    return chunks
