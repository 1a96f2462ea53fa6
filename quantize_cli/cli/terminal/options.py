"""Arguments and options that several commands take, said once."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Search(str, Enum):
    """How the codes of rows on their own are found."""

    reference = "reference"
    best = "best"


Source = Annotated[
    Path, typer.Argument(metavar="SRC", help="A checkpoint directory, a .safetensors file, or a float .gguf file.")
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .gguf file, or a float checkpoint.")]
Bits = Annotated[
    Optional[int],  # noqa: UP045 - typer on Python 3.10
    typer.Option("--bits", "-b", metavar="16|8|6|5|4", help="Bits per weight, by llama.cpp's usual mix. Default 4."),
]
TypeName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--type", "-t", metavar="TYPE", help="A mix (q4_k_m, q4_0) or one block type for all (q4_k)."),
]
RecipeFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--recipe", metavar="FILE", help="A recipe of your own, in TOML."),
]
Pure = Annotated[bool, typer.Option("--pure", help="Take the default type of the mix for every tensor.")]
TensorTypes = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--tensor", metavar="GLOB=TYPE", help="A type for the tensors whose names match; repeatable."),
]
ImportanceFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--imatrix", metavar="FILE", help="An importance matrix made by calibrate or llama-imatrix."),
]
Requantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Take quantized tensors too, and add one error to another.")
]
SplitSize = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--split-size", metavar="SIZE", help="Several files of at most so many bytes of tensors: 2GB, 500MB."),
]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Metadata to write; KEY=TYPE:VALUE for a new key; repeatable."),
]
CalibrationTexts = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option("--calibrate", metavar="FILE", help="A UTF-8 text to round for, as the model reads it; repeatable."),
]
MethodNames = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--method",
        metavar="NAME",
        help="awq, smoothquant, then gptq, imatrix, zeroquant or hqq; repeatable. Default with a text: gptq.",
    ),
]
CalibrationContext = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--ctx", help="Tokens per chunk of --calibrate. Default 512, or what the model was trained on."),
]
CalibrationChunks = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--chunks", help="Read only the first so many chunks of each text."),
]
Special = Annotated[
    bool, typer.Option("--special", help="Read control tokens such as <|im_end|> in the text as tokens.")
]
SizeBudget = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--size", metavar="SIZE", help="The best file of at most so many bytes, as 4.5GB; with --calibrate."),
]
BitsBudget = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--bpw", metavar="BITS", help="The best file of so many bits per weight; with --calibrate."),
]
MemoryBudget = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--fits", metavar="SIZE", help="The best file that runs in so much memory; with --calibrate."),
]
BudgetTypes = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--types", metavar="TYPE,...", help="Types that a budget may choose. Default: what is best."),
]
SaveRecipe = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--save-recipe", metavar="FILE", help="Write the recipe that was used, as TOML."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Certify = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--certify", metavar="TEXT", help="Compare OUT with SRC on TEXT and put what was lost into it."),
]
Texts = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option("--text", metavar="FILE", help="A UTF-8 text to predict; repeatable."),
]
Context = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--ctx", help="Tokens per chunk; the second half of each is scored. Default 512, if trained on so many."
    ),
]
Chunks = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--chunks", help="Measure only the first so many chunks of each text."),
]
ReferencePath = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--reference", metavar="REF", help="What to compare with: a model, or a saved reference."),
]
HtmlFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--html", metavar="FILE", help="Write a report as one HTML page."),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("-o", "--output", metavar="OUT", help="Default: SRC-TYPE.gguf in the current directory."),
]
SearchKind = Annotated[
    Search, typer.Option("--search", help="best: improve what the reference chooses while the error falls.")
]
ThreadCount = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--threads", "-j", min=1, help="Cores to compute on. Default: all."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Plan, check and say what would be done; write nothing.")]
