"""What `--calibrate`, `--method` and `--search` ask for: a text read, a model prepared, and who decides the codes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from formats.ggml import GgmlType
from quantize_cli import certificate
from quantize_cli.calibrate import _choice
from quantize_cli.calibrate._choice import Methods
from quantize_cli.calibrate.imatrix import collected
from quantize_cli.cli._options import Search
from quantize_cli.cli._progress import progress
from quantize_cli.cli._text import note
from quantize_cli.errors import UsageError
from quantize_cli.evaluate.corpus import read_texts
from quantize_cli.pipeline import Rounding, default_threads
from quantize_cli.plan import Importance, Plan
from quantize_cli.runtime.hyperparameters import read_hyperparameters
from quantize_cli.source import Model
from quantize_cli.tokenizers import load_tokenizer

_CONTEXT = 512


@dataclass(frozen=True)
class Request:
    """What the options say."""

    texts: tuple[Path, ...] = ()
    methods: tuple[str, ...] = ()
    context: int | None = None
    limit: int | None = None
    """Chunks of each text."""
    search: Search = Search.reference
    threads: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.texts and (self.context is not None or self.limit is not None):
            option = "--ctx" if self.context is not None else "--chunks"
            raise UsageError(f"{option}: there is no text to cut", hint="--calibrate FILE")


class Calibrated:
    """The methods chosen, and what they know of the model's inputs."""

    def __init__(self, request: Request, model: Model, has_importance: bool) -> None:
        self._request = request
        best = request.search is Search.best
        self.methods: Methods = _choice.choose(request.methods, bool(request.texts), has_importance, best)
        self.chunks = _chunks(request, model) if request.texts else None

    @property
    def method(self) -> str:
        """The methods as a certificate names them."""
        return self.methods.spelled

    def claimed(self) -> certificate.Calibration | None:
        """The text as a certificate names it; of several, all their names and the digest of their tokens."""
        if self.chunks is None:
            return None
        from quantize_cli.certify import file_sha256  # which imports what runs models, as a plan does not

        texts = self._request.texts
        digest = file_sha256(texts[0])
        if len(texts) > 1:
            digest = hashlib.sha256(self.chunks.astype("<i4").tobytes()).hexdigest()
        name = certificate.legible(", ".join(path.name for path in texts), certificate.LONGEST_NAME)
        return certificate.Calibration(name, digest, int(self.chunks.size), self.chunks.shape[1])

    @property
    def threads(self) -> int:
        return self._request.threads or default_threads()

    def guided(self, model: Model) -> frozenset[str]:
        """Tensors that are known well enough for any type."""
        return _choice.guided(model, self.methods)

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
            return collected(model, self.chunks, advance)

    def rounding(self, model: Model, plan: Plan) -> Rounding:
        """Who decides what stands for the weights of the plan."""
        if not self.methods.is_sequential or self.chunks is None:
            return Rounding(self.methods.encode)
        types = _choice.covered(model, {step.tensor.name: step.type for step in plan.steps})
        sequence = self.methods.sequence(model, types, self.chunks, self.threads)
        return Rounding(self.methods.encode, frozenset(types), sequence)


def _chunks(request: Request, model: Model) -> np.ndarray:
    context = request.context
    if context is None:
        context = min(_CONTEXT, read_hyperparameters(model).context)
    chunks, _ = read_texts(request.texts, load_tokenizer(model.metadata), context, request.limit)
    if not request.quiet:
        note(f"calibrating on {chunks.size} tokens, {len(chunks)} chunks of {context}")
    return chunks
