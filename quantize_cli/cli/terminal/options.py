"""Arguments and options that several commands take."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

if TYPE_CHECKING:
    from quantize_cli.runtime.sampler import Sampling


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

Stops = Annotated[list[str] | None, Option("--stop", metavar="STRING", help="End before this string; repeatable.")]


_SAMPLING = {
    "temperature": (0.0, "T", "Divide the logits by it and draw; 0 takes the likeliest token, always."),
    "top_k": (40, "N", "Draw from the N likeliest tokens; 0 for all."),
    "top_p": (0.95, "P", "Draw from the likeliest that together reach P; 1 for all."),
    "min_p": (0.05, "P", "Draw from those at least P times as likely as the likeliest."),
    "repeat_penalty": (1.0, "X", "Divide the logits of recent tokens; 1 for none."),
    "seed": (0, "N", "The same seed draws the same tokens."),
}
"""By the fields of Sampling: default, metavar and help of an option each."""


def takes(
    name: str, shared: Sequence[Parameter], make: Callable[[dict[str, Any]], object]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator of commands: their parameter `name` becomes the options `shared`, of which `make` makes its value."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[Parameter] = []
        for own in signature(command).parameters.values():
            parameters += shared if own.name == name else [own.replace(kind=Parameter.KEYWORD_ONLY)]

        @wraps(command)
        def taking(**values: Any) -> None:
            command(**{name: make({option.name: values.pop(option.name) for option in shared})}, **values)

        # typer reads both.
        taking.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        taking.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return taking

    return decorate


def takes_sampling(temperature: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator of commands: their parameter `sampling` becomes the options of how tokens are drawn."""
    shared = []
    for name, (default, metavar, words) in _SAMPLING.items():
        option = Option(
            temperature if name == "temperature" else default,
            f"--{name.replace('_', '-')}", metavar=metavar, help=words,
        )  # fmt: skip
        shared.append(Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=type(default)))
    return takes("sampling", shared, _sampling)


def _sampling(values: dict[str, Any]) -> "Sampling":
    from quantize_cli.runtime.sampler import Sampling

    return Sampling(**values)
