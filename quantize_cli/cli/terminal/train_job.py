"""The options that describe a training: its own, and those of the conversion that makes what it starts from."""

from enum import Enum
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from quantize_cli.cli.terminal.job import JOB_PARAMETERS, parameters_of
from quantize_cli.cli.terminal.options import Special, takes

if TYPE_CHECKING:
    from quantize_cli.train.runner.job import TrainJob


class Device(str, Enum):
    """Where tensors lie."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


_OF_CONVERSION = (
    "source", "bits", "type", "recipe", "pure", "tensors", "size", "bits_per_weight", "fits", "types",
    "imatrix", "texts", "search", "settings", "certify", "threads",
)  # fmt: skip
"""Fields of a Job that are options here as they are in `convert`."""


class _Options:
    """Each name is a field of `quantize_cli.train.runner.job.TrainJob`, or one of a Job under another option."""

    data: Annotated[
        list[Path] | None,
        Option("--text", metavar="FILE", help="A UTF-8 text, or .jsonl with 'text' or 'messages'; repeatable."),
    ] = None
    output: Annotated[
        Path | None, Option("-o", "--output", metavar="OUT", help="The .gguf file to write; of qlora the adapter.")
    ] = None
    method: Annotated[
        str, Option("--method", metavar="NAME", help="qat (all at once), efficientqat (block after block) or qlora.")
    ] = "qat"
    start: Annotated[
        Path | None,
        Option("--start", metavar="FILE", help="A GGUF file of this model to start from."),
    ] = None
    methods: Annotated[
        list[str] | None,
        Option("--start-method", metavar="NAME", help="How what is started from is rounded. Default: gptq."),
    ] = None
    steps: Annotated[int | None, Option("--steps", metavar="N", help="Steps end to end.")] = None
    block_steps: Annotated[int | None, Option("--block-steps", metavar="N", help="Steps for each block.")] = None
    batch: Annotated[int, Option("--batch", metavar="N", help="Chunks that a step sees.")] = 4
    context: Annotated[int, Option("--ctx", metavar="N", help="Tokens per chunk.")] = 256
    learning_rate: Annotated[
        float | None,
        Option("--learning-rate", metavar="X", help="Of weights, in steps of their grid; of adapters as it is."),
    ] = None
    seed: Annotated[int, Option("--seed", metavar="N", help="Draws the order of chunks and what is held out.")] = 0
    held_out: Annotated[float, Option("--held-out", metavar="SHARE", help="Share of the chunks that no step sees.")] = (
        0.03
    )
    patience: Annotated[
        int | None, Option("--patience", metavar="N", help="Stop after N looks at what is held out without a gain.")
    ] = None
    special: Special = False
    save_minutes: Annotated[
        float, Option("--save-minutes", metavar="X", help="How often what is reached is saved in OUT.training.")
    ] = 10.0
    resume: Annotated[bool, Option("--resume", help="Continue what lies in OUT.training.")] = False
    device: Annotated[Device, Option("--device", help="auto takes a GPU if there is one.")] = Device.auto
    bfloat16: Annotated[
        bool, Option("--bf16", help="Multiply in bfloat16: faster where there are instructions for it.")
    ] = False
    gradient_checkpointing: Annotated[bool, Option("--gradient-checkpointing", help="Less memory, more time.")] = False
    save_float: Annotated[
        Path | None,
        Option(
            "--save-float", metavar="PATH", help="Write the float weights too, as .gguf or as a directory like SRC."
        ),
    ] = None
    rank: Annotated[int, Option("--rank", metavar="N", help="qlora: rank of the adapters.")] = 8
    alpha: Annotated[float, Option("--alpha", metavar="X", help="qlora: they count X / rank times.")] = 16.0
    targets: Annotated[
        list[str] | None,
        Option("--target", metavar="GLOB", help="qlora: matrices that get one; repeatable. Default: all in layers."),
    ] = None
    base: Annotated[
        str | None, Option("--base", metavar="nf4", help="qlora: train beside NF4 instead of a file's types.")
    ] = None
    merge: Annotated[bool, Option("--merge", help="qlora: merge the adapters and quantize again.")] = False


def _job(values: dict[str, Any]) -> "TrainJob":
    from quantize_cli import api

    types = values["types"]
    spelled = {
        "search": values["search"].value, "device": values["device"].value,
        "types": None if types is None else types.split(","),
    }  # fmt: skip
    options = {**values, **spelled, "calibration": values["texts"]}
    source, data, output = (options.pop(name) for name in ("source", "data", "output"))
    del options["texts"]
    return api.train_job(source, data or (), output, **options)


def _parameters() -> list[Parameter]:
    """SRC and what is trained on first, then the others."""
    own, shared = parameters_of(_Options), {name: JOB_PARAMETERS[name] for name in _OF_CONVERSION}
    first = (shared.pop("source"), own.pop("data"), own.pop("output"))
    return [*first, *own.values(), *shared.values()]


takes_train_job = takes("job", _parameters(), _job)
"""A decorator of commands: their parameter `job` becomes the options of a training."""
