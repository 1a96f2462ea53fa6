"""The Python API: what the commands do, as functions over paths.

Every function raises what `quantize_cli.errors` and `quantize_cli.formats.errors` hold, prints nothing, and tells a
`Report` how it goes if one is given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_cli.progress import SILENT, Report

if TYPE_CHECKING:
    import numpy as np

    from quantize_cli.evaluation.evaluation import Evaluation
    from quantize_cli.formats.imatrix import ImportanceFile
    from quantize_cli.pipeline import Converted
    from quantize_cli.pipeline.job import Job
    from quantize_cli.pipeline.plan import Plan
    from quantize_cli.runtime.transformer import Transformer
    from quantize_cli.tokenizers import Tokenizer

PathLike = str | Path
_PATHS = ("output", "recipe", "imatrix", "certify")
_TUPLES = ("tensors", "methods", "types", "settings")


def convert(source: PathLike, output: PathLike | None = None, *, force: bool = False, **options: Any) -> "Converted":
    """Convert a checkpoint, or a float GGUF file, to a quantized GGUF file.

    `options` are the fields of `quantize_cli.pipeline.job.Job`: `type="q4_k_m"`, `bits=4`, `texts=["wiki.txt"]` to
    calibrate on, `size="4.5GB"`, ..., and `report`. `force` replaces a file that is there. Gives what was planned and
    how long it took.
    """
    from quantize_cli.pipeline import convert as run

    report: Report = options.pop("report", SILENT)
    return run(job(source, output=output, **options), report, force=force)


def plan(source: PathLike, **options: Any) -> "Plan":
    """Everything `convert` with the same options would decide: type, size, offset and reason of each tensor."""
    from quantize_cli.pipeline import planned

    report: Report = options.pop("report", SILENT)
    return planned(job(source, **options), report).plan


def job(source: PathLike, **options: Any) -> "Job":
    """The job that these options describe; TypeError for an option that no job has."""
    from quantize_cli.pipeline.job import Job

    given = {name: value for name, value in options.items() if value is not None}
    for name in _PATHS:
        if name in given:
            given[name] = Path(given[name])
    for name in _TUPLES:
        if name in given:
            given[name] = (given[name],) if isinstance(given[name], str) else tuple(given[name])
    if "texts" in given:
        given["texts"] = _paths(given["texts"])
    return Job(Path(source), **given)


def inspect(path: PathLike) -> dict[str, Any]:
    """What a model file says: metadata, and each tensor's type, shape, size and offset; no weight is read."""
    from quantize_cli.model.description import describe

    return describe(Path(path))


@dataclass(frozen=True)
class LoadedModel:
    """A model that runs on the CPU."""

    path: Path
    tokenizer: "Tokenizer" = field(repr=False)
    transformer: "Transformer" = field(repr=False)

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text, with the token that begins it; `special` reads control tokens out of the text."""
        return self.tokenizer.encode(text, parse_special=special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for."""
        return self.tokenizer.decode(list(tokens))

    def logits(self, tokens: Sequence[int]) -> "np.ndarray":
        """What the model predicts after each of n tokens, (n, vocabulary) f32."""
        import numpy as np

        return self.transformer.logits(np.asarray(tokens, np.int32))

    def generate(
        self,
        prompt: str,
        tokens: int = 128,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The continuation of a prompt, piece by piece as it is made; the likeliest token unless a temperature is."""
        import numpy as np

        from quantize_cli.errors import InputError
        from quantize_cli.runtime.detokenizer import Speech
        from quantize_cli.runtime.generation import generate
        from quantize_cli.runtime.sampler import Sampler, Sampling

        ids = self.tokenize(prompt)
        if not ids:
            raise InputError(f"{self.path}: an empty prompt, and the vocabulary has no token to begin with")
        sampler = Sampler(Sampling(temperature=temperature, seed=seed))
        sampler.hear(ids)
        drop = " " if self.tokenizer.adds_space and not self.detokenize(ids) else ""
        speech = Speech(self.tokenizer.decode_bytes, stop, drop)
        for token in generate(self.transformer, np.array(ids), tokens, self.tokenizer.end_ids, sampler):
            if said := speech.take(token):
                yield said
            if speech.stopped:
                return
        if said := speech.finish():
            yield said


def load(path: PathLike, *, threads: int | None = None, report: Report = SILENT) -> LoadedModel:
    """The model at `path`, a GGUF file or a float checkpoint, ready to run."""
    from quantize_cli.model.source import open_model
    from quantize_cli.runtime.transformer import from_model
    from quantize_cli.tokenizers import load_tokenizer

    model = open_model(Path(path))
    for warning in model.warnings:
        report.warn(warning)
    return LoadedModel(model.path, load_tokenizer(model.metadata), from_model(model, threads))


def calibrate(
    model: PathLike,
    texts: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    force: bool = False,
    report: Report = SILENT,
) -> "ImportanceFile":
    """Collect an importance matrix: what the model's matrices are given while it reads the texts, by column."""
    from quantize_cli.calibration.statistics.calibration import Request, prepare, run
    from quantize_cli.pipeline.outputs import Outputs

    path, read, out = Path(model), _paths(texts), Path(output)
    outputs = Outputs((path, *read), force, report.note)
    outputs.refuse_bad((out,))
    request = Request(path, read, out, context, chunks, special=special, guard=outputs.guard)
    prepared = prepare(request, report.note)
    for warning in prepared.warnings:
        report.warn(warning)
    outputs.sweep((out,))
    with report.progress(len(prepared.chunks), " chunks", path.name) as advance:
        return run(prepared, advance)


def evaluate(
    model: PathLike,
    texts: PathLike | Sequence[PathLike],
    *,
    reference: PathLike | None = None,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    report: Report = SILENT,
) -> "Evaluation":
    """The perplexity of a model on texts, and its divergence from a reference if one is given."""
    return _evaluated((Path(model),), texts, reference, context, chunks, special, report)


def compare(
    models: Sequence[PathLike],
    texts: PathLike | Sequence[PathLike],
    *,
    reference: PathLike | None = None,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    report: Report = SILENT,
) -> "Evaluation":
    """Several models on the same texts, side by side; the first is the reference unless another is named."""
    return _evaluated(_paths(models), texts, reference or models[0], context, chunks, special, report)


def _evaluated(
    models: tuple[Path, ...],
    texts: PathLike | Sequence[PathLike],
    reference: PathLike | None,
    context: int | None,
    chunks: int | None,
    special: bool,
    report: Report,
) -> "Evaluation":
    from quantize_cli.evaluation.evaluation import Request, evaluated

    named = None if reference is None else Path(reference)
    return evaluated(Request(models, _paths(texts), context, chunks, named, special=special), report)


def _paths(named: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    return (Path(named),) if isinstance(named, str | Path) else tuple(map(Path, named))
