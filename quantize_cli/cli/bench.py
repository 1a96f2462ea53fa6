"""quantize bench: how fast this machine quantizes, and how fast it runs a model."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from quantize_cli.cli.terminal.options import Json

_PROMPT, _TOKENS = 512, 32
_TURNS = {"types": 5, "run": 3}


def command(
    what: Annotated[str, typer.Argument(metavar="types|run", help="Every type, or a model as it runs.")],
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="MODEL", help="run: a .gguf file, or a float checkpoint."),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--type", "-t", metavar="TYPE", help="types: this type alone; repeatable. Default: all."),
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="types: quantize with an importance for each column.")
    ] = False,
    prompt: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--prompt", min=1, help=f"run: tokens of the prompt. Default {_PROMPT}."),
    ] = None,
    tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--tokens", "-n", min=1, help=f"run: tokens to generate. Default {_TOKENS}."),
    ] = None,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--threads", "-j", min=1, help="run: cores to compute on. Default: all."),
    ] = None,
    turns: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--turns", min=1, help="Measurements of each; the median counts. Default: types 5, run 3."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure the speed of each type on one core, or of a model, beside llama.cpp where xllamacpp is installed."""
    from quantize_cli.errors import UsageError

    if what not in _TURNS:
        raise UsageError(f"bench {what!r}: nothing of that name to measure", hint="quantize bench types")
    turns = turns or _TURNS[what]
    if what == "types":
        _refuse(what, {"MODEL": model, "--prompt": prompt, "--tokens": tokens, "--threads": threads})
        _types(only, turns, importance, json)
        return
    _refuse(what, {"--type": only, "--importance": importance or None})
    if model is None:
        raise UsageError("bench run: no model is given", hint="quantize bench run MODEL.gguf")
    _run(model, (prompt or _PROMPT, tokens or _TOKENS, turns), threads, json)


def _refuse(what: str, given: dict[str, object]) -> None:
    """Say which option belongs to the other thing to measure."""
    from quantize_cli.errors import UsageError

    for name, value in given.items():
        if value is not None:
            raise UsageError(f"bench {what} takes no {name}")


def _types(only: list[str] | None, turns: int, importance: bool, json: bool) -> None:
    from quantize_cli import quants
    from quantize_cli.bench.types import measure
    from quantize_cli.cli.terminal.progress import progress
    from quantize_cli.cli.terminal.text import print_json
    from quantize_cli.pipeline.recipe import block_type

    chosen = [block_type(name, "--type") for name in only] if only else list(quants.supported())
    found = []
    with progress(len(chosen), " types", "bench", quiet=json) as advance:
        for type_ in chosen:
            found.append(measure(type_, turns, importance))
            advance(1)
    if json:
        print_json({"types": [_row(speed) for speed in found]})
    else:
        _print(found)


def _row(speed: Any) -> dict[str, Any]:
    return {
        "type": speed.type.name, "weights_per_second": speed.weights, "bytes_per_second": speed.nbytes,
        "copy_share": speed.copy_share, "dequantized_bytes_per_second": speed.dequantized_nbytes,
        "ggml_weights_per_second": speed.ggml_weights, "ratio": speed.ratio,
    }  # fmt: skip


def _print(found: list[Any]) -> None:
    from quantize_cli.cli.terminal.text import print_table

    headings = ("type", "M weights/s", "GB/s", "of a copy", "dequantized GB/s", "ggml M weights/s", "ratio")
    rows = [
        (
            speed.type.name.lower(), f"{speed.weights / 1e6:.1f}", f"{speed.nbytes / 1e9:.2f}",
            f"{100 * speed.copy_share:.0f} %", f"{speed.dequantized_nbytes / 1e9:.2f}",
            "" if speed.ggml_weights is None else f"{speed.ggml_weights / 1e6:.1f}",
            "" if speed.ratio is None else f"{speed.ratio:.1f}",
        )
        for speed in found
    ]  # fmt: skip
    print_table(headings, rows, frozenset(headings[1:]))


def _run(model: Path, amounts: tuple[int, int, int], threads: int | None, json: bool) -> None:
    """Measure a model with a prompt, tokens and turns of these numbers."""
    from quantize_cli.bench.run import Request, measure
    from quantize_cli.cli.terminal.progress import progress
    from quantize_cli.cli.terminal.run_speed import document, print_speed
    from quantize_cli.cli.terminal.text import note, print_json
    from quantize_cli.machine import processors

    request = Request(model, *amounts, threads or processors())
    with progress(request.turns, " turns", "bench", quiet=json) as advance:
        found = measure(request, advance)
    if json:
        print_json(document(request, found))
        return
    if found.llama_missing is not None:
        note(f"llama.cpp is not measured: {found.llama_missing}")
    print_speed(request, found)
