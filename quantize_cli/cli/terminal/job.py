"""The options that describe a job, for every command that does or shows one."""

from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from quantize_cli.cli.terminal.options import CalibrationContext, ReadChunks, Search, Source, Special, takes

if TYPE_CHECKING:
    from quantize_cli.pipeline.job import Job


class _Options:
    """Each name is a field of `quantize_cli.pipeline.job.Job`, and in this order an option of the commands.

    Only its annotations and defaults are read, so it is not a dataclass, which would take time to make at each start.
    """

    source: Source
    lora: Annotated[
        list[str] | None,
        Option("--lora", metavar="PATH[:SCALE]", help="A LoRA adapter to merge into SRC, of PEFT or GGUF; repeatable."),
    ] = None
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="OUT", help="Default: SRC-TYPE.gguf in the current directory."),
    ] = None
    bits: Annotated[
        int | None,
        Option("--bits", "-b", metavar="16|8|6|5|4", help="Bits per weight, by llama.cpp's usual mix. Default 4."),
    ] = None
    type: Annotated[
        str | None,
        Option("--type", "-t", metavar="TYPE", help="A mix (q4_k_m, q4_0), one block type for all (q4_k), or keep."),
    ] = None
    recipe: Annotated[Path | None, Option("--recipe", metavar="FILE", help="A recipe of your own, in TOML.")] = None
    pure: Annotated[bool, Option("--pure", help="Take the default type of the mix for every tensor.")] = False
    tensors: Annotated[
        list[str] | None,
        Option("--tensor", metavar="GLOB=TYPE", help="A type for the tensors whose names match; repeatable."),
    ] = None
    imatrix: Annotated[
        Path | None,
        Option("--imatrix", metavar="FILE", help="An importance matrix made by calibrate or llama-imatrix."),
    ] = None
    size: Annotated[
        str | None,
        Option("--size", metavar="SIZE", help="The best file of at most so many bytes, as 4.5GB; with --calibrate."),
    ] = None
    bits_per_weight: Annotated[
        float | None,
        Option("--bpw", metavar="BITS", help="The best file of so many bits per weight; with --calibrate."),
    ] = None
    fits: Annotated[
        str | None,
        Option("--fits", metavar="SIZE", help="The best file that runs in so much memory; with --calibrate."),
    ] = None
    types: Annotated[
        str | None,
        Option("--types", metavar="TYPE,...", help="Types that a budget may choose. Default: what is best."),
    ] = None
    texts: Annotated[
        list[Path] | None,
        Option("--calibrate", metavar="FILE", help="A UTF-8 text to round for, as the model reads it; repeatable."),
    ] = None
    methods: Annotated[
        list[str] | None,
        Option(
            "--method",
            metavar="NAME",
            help="awq, smoothquant, then gptq, imatrix, zeroquant or hqq; repeatable. Default with a text: gptq.",
        ),
    ] = None
    search: Annotated[
        Search, Option("--search", help="best: improve what the reference chooses while the error falls.")
    ] = Search.reference
    context: CalibrationContext = None
    chunks: ReadChunks = None
    special: Special = False
    requantize: Annotated[
        bool, Option("--allow-requantize", help="Take quantized tensors too, and add one error to another.")
    ] = False
    split_size: Annotated[
        str | None,
        Option("--split-size", metavar="SIZE", help="Several files of at most so many bytes of tensors: 2GB, 500MB."),
    ] = None
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="Metadata to write; KEY=TYPE:VALUE for a new key; repeatable."),
    ] = None
    certify: Annotated[
        Path | None,
        Option("--certify", metavar="TEXT", help="Compare OUT with SRC on TEXT and put what was lost into it."),
    ] = None
    threads: Annotated[int | None, Option("--threads", "-j", min=1, help="Cores to compute on. Default: all.")] = None


def _job(values: dict[str, Any]) -> "Job":
    """The job that the options describe."""
    from quantize_cli import api

    types = values["types"]
    return api.job(**{**values, "search": values["search"].value, "types": None if types is None else types.split(",")})


def parameters_of(options: type) -> dict[str, Parameter]:
    """By name, the parameters of a command that a class like `_Options` describes."""
    return {
        name: Parameter(
            name, Parameter.KEYWORD_ONLY, default=getattr(options, name, Parameter.empty), annotation=annotation
        )
        for name, annotation in options.__annotations__.items()
    }


JOB_PARAMETERS = parameters_of(_Options)
takes_job = takes("job", list(JOB_PARAMETERS.values()), _job)
"""A decorator of commands: their parameter `job` becomes the options of a job."""
