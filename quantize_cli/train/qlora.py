"""QLoRA (Dettmers et al. 2023): adapters of low rank are fine-tuned beside a frozen quantized model.

The base is any GGUF file or NF4, and stays what it is. The loss is the text's own, so that the model learns from it,
where `qat` and `efficientqat` only keep it as it was.

Without `--merge`, OUT.gguf is the adapter for llama.cpp. With it, OUT.gguf is the float model with the adapter merged,
quantized as asked for, and the adapter is OUT.lora.gguf. For PEFT it lies in the directory OUT.peft in both cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from quantize_cli.adapters.gguf import write_gguf_adapter
from quantize_cli.adapters.modules import has_names
from quantize_cli.adapters.peft import FILES, write_peft
from quantize_cli.errors import UsageError
from quantize_cli.formats.quoted import quoted
from quantize_cli.pipeline import convert
from quantize_cli.runtime.transformer import from_model
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.decoder.decoder import Decoder
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.likelihood import held_out_likelihood, likelihood_loss
from quantize_cli.train.runner.phase import Models, Phase, PhaseOutline, Training, Writing
from quantize_cli.train.runner.start import rounding_job
from quantize_cli.train.weights.adapted import AdaptedWeights, frozen_matrices, new_adapters, refuse_base
from quantize_cli.train.weights.trained_matrix import Role

_NAME = "end to end"
_STEPS = 500
_RATES = {Role.ADAPTERS: 2e-4}
"""The paper's, for models of up to 13 billion weights (its table 9). It is absolute: adapters have no grid."""


@dataclass(frozen=True)
class AdaptedTraining(Training):
    """A training of adapters alone."""

    adapted: AdaptedWeights = field(repr=False, kw_only=True)
    """The frozen base, and the adapters beside it."""


class QLora:
    """One phase: all adapters, end to end."""

    def outline(self, job: TrainJob, blocks: int) -> tuple[PhaseOutline, ...]:
        return (PhaseOutline(_NAME, job.steps or _STEPS, frozenset(_RATES)),)

    def refuse(self, job: TrainJob) -> tuple[Path, ...]:
        """The files that `write` will make; UsageError for options that do not go together."""
        output = _output(job)
        refuse_base(job.base)
        if job.base is not None and job.start is not None:
            raise UsageError("--base and --start: both name what the adapters are trained beside", "give one of them")
        if job.rank < 1 or not 0 < job.alpha < float("inf"):
            raise UsageError(f"--rank {job.rank} and --alpha {job.alpha:g}: must be above 0")
        if job.conversion.certify is not None:
            raise UsageError("--certify: a certificate compares with SRC, from which adapters lead away")
        if job.save_float is not None:
            raise UsageError("--save-float: there are no codes", "--merge --type bf16 gives the merged float model")
        merged = (output,) if job.merge else ()
        directory = _peft_directory(job)
        files = tuple(directory / name for name in FILES) if directory.is_dir() else (directory,)
        return (*merged, _adapter_file(job), *files)

    def needs_start(self, job: TrainJob) -> bool:
        return job.base is None

    def assemble(self, job: TrainJob, models: Models, examples: Examples, device: torch.device) -> AdaptedTraining:
        """The base in memory as it is stored; UsageError where no matrix gets an adapter."""
        base = models.source if models.start is None else models.start
        adapters = new_adapters(base, job.targets, job.rank, job.alpha, job.seed)
        adapted = AdaptedWeights(frozen_matrices(base, job.base, device), adapters).to(device)
        decoder = Decoder(from_model(base, resident=False), job.gradient_checkpointing).to(device)
        return AdaptedTraining(job, decoder, adapted, {}, adapted, examples, device, adapted=adapted)

    def phases(self, training: Training) -> Iterator[Phase]:
        """`training` is one that `assemble` made."""
        assert isinstance(training, AdaptedTraining)
        yield Phase(
            _NAME,
            training.job.steps or _STEPS,
            training.adapted.groups(),
            training.rates(_RATES),
            likelihood_loss(training, training.adapted),
            held_out_likelihood(training, training.adapted),
        )

    def write(self, training: Training, models: Models, writing: Writing) -> None:
        """The adapter in both forms, and with `--merge` the model."""
        assert isinstance(training, AdaptedTraining)
        job, source = training.job, models.source
        adapter = training.adapted.adapter(str(source.architecture))
        write_gguf_adapter(_adapter_file(job), adapter, writing.guard)
        if has_names(source):
            write_peft(_peft_directory(job), adapter, source, writing.guard)
        else:
            writing.report.warn(
                f"{source.path}: what transformers calls modules of '{source.architecture}' is not known, so the "
                "adapter is written as gguf alone"
            )
        if job.merge:
            conversion = rounding_job(job, _output(job))
            lora = (*conversion.lora, str(_adapter_file(job)))
            convert(replace(conversion, lora=lora), writing.report, force=writing.guard.force)


METHOD = QLora()


def _output(job: TrainJob) -> Path:
    output = job.conversion.output
    if output is None or output.suffix != ".gguf":
        raise UsageError(f"--output {quoted(str(output or ''))}: not called .gguf", hint="--output OUT.gguf")
    return output


def _adapter_file(job: TrainJob) -> Path:
    output = _output(job)
    return output.with_suffix(".lora.gguf") if job.merge else output


def _peft_directory(job: TrainJob) -> Path:
    return _output(job).with_suffix(".peft")
