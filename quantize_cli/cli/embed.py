"""quantize embed: texts as vectors."""

import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.options import Json, ModelPath
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import print_json

if TYPE_CHECKING:
    import numpy as np


class Pooling(str, Enum):
    """How the states of a text's tokens become one."""

    mean = "mean"
    cls = "cls"
    last = "last"


def command(
    model: ModelPath,
    text: Annotated[list[str] | None, Option("--text", metavar="TEXT", help="A text to embed; repeatable.")] = None,
    file: Annotated[
        Path | None, Option("--file", metavar="FILE", help="A UTF-8 file of texts to embed, one per line.")
    ] = None,
    pooling: Annotated[
        Pooling | None,
        Option("--pooling", help="The mean of the tokens, the first or the last one. Default: as the file says."),
    ] = None,
    unscaled: Annotated[bool, Option("--unscaled", help="Leave embeddings as long as they are.")] = False,
    json: Json = False,
) -> None:
    """Give the embedding of each text by MODEL: one line of JSON, a list of numbers, for each."""
    from quantize_cli import api
    from quantize_cli.runtime.pooling import pooling_of

    texts = _texts(text or (), file)
    loaded = api.load(model, report=report(quiet=True))
    way = pooling_of(loaded.source) if pooling is None else pooling.value
    embeddings = []
    for number, listed in enumerate(texts, start=1):
        (row,) = loaded.embed([listed], pooling=way, normalize=not unscaled, first=number)
        if not json:
            sys.stdout.write(f"[{', '.join(map(str, _numbers(row)))}]\n")
            continue
        embeddings.append({"text": listed, "tokens": len(loaded.tokenize(listed)), "embedding": _numbers(row)})
    if json:
        print_json({"model": str(model), "pooling": way, "normalized": not unscaled, "embeddings": embeddings})


def _texts(named: Sequence[str], file: Path | None) -> list[str]:
    from quantize_cli.errors import UsageError
    from quantize_cli.evaluation.corpus import read_text

    lines = [] if file is None else [line.removesuffix("\r") for line in read_text(file).split("\n")]
    if not named and not lines:
        raise UsageError("missing option '--text' or '--file'", hint="--text TEXT, or --file FILE with a text per line")
    return [*named, *lines]


def _numbers(row: "np.ndarray") -> list[float]:
    """Numbers with as many digits as tell float32 apart."""
    return [float(str(value)) for value in row]
