"""Arguments and options that several commands take."""

from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


class Search(str, Enum):
    """How the codes of a row are searched."""

    reference = "reference"
    best = "best"


Source = Annotated[
    Path, Argument(metavar="SRC", help="A checkpoint directory, a .safetensors file, or a float .gguf file.")
]
ModelPath = Annotated[Path, Argument(metavar="MODEL", help="A .gguf file, or a float checkpoint.")]
Json = Annotated[bool, Option("--json", help="Print one JSON document.")]
Force = Annotated[bool, Option("--force", "-f", help="Replace files that are there.")]
HtmlFile = Annotated[Path | None, Option("--html", metavar="FILE", help="Write a report as one HTML page.")]
Texts = Annotated[list[Path] | None, Option("--text", metavar="FILE", help="A UTF-8 text to predict; repeatable.")]
Special = Annotated[bool, Option("--special", help="Read control tokens such as <|im_end|> in the text as tokens.")]
CalibrationContext = Annotated[
    int | None,
    Option("--ctx", help="Tokens per chunk of --calibrate. Default 512, or what the model was trained on."),
]
ReadContext = Annotated[
    int | None,
    Option("--ctx", help="Tokens per chunk. Default 512, or what the model was trained on if that is less."),
]
ReadChunks = Annotated[int | None, Option("--chunks", help="Read only the first so many chunks of each text.")]
Context = Annotated[
    int | None,
    Option("--ctx", help="Tokens per chunk; the second half of each is scored. Default 512, if trained on so many."),
]
Chunks = Annotated[int | None, Option("--chunks", help="Measure only the first so many chunks of each text.")]
ReferencePath = Annotated[
    Path | None, Option("--reference", metavar="REF", help="What to compare with: a model, or a saved reference.")
]

Temperature = Annotated[
    float,
    Option("--temperature", metavar="T", help="Divide the logits by it and draw; 0 takes the likeliest token, always."),
]
TopK = Annotated[int, Option("--top-k", metavar="N", help="Draw from the N likeliest tokens; 0 for all.")]
TopP = Annotated[
    float, Option("--top-p", metavar="P", help="Draw from the likeliest that together reach P; 1 for all.")
]
MinP = Annotated[
    float, Option("--min-p", metavar="P", help="Draw from those at least P times as likely as the likeliest.")
]
RepeatPenalty = Annotated[
    float, Option("--repeat-penalty", metavar="X", help="Divide the logits of recent tokens; 1 for none.")
]
Seed = Annotated[int, Option("--seed", metavar="N", help="The same seed draws the same tokens.")]
Stops = Annotated[list[str] | None, Option("--stop", metavar="STRING", help="End before this string; repeatable.")]
