"""quantize bench: how fast this machine quantizes, and how fast it runs a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from quantize_cli.cli.terminal.options import Json
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table
from quantize_cli.errors import UsageError
from quantize_cli.machine import processors

if TYPE_CHECKING:
    from quantize_cli.bench.types import TypeSpeed

_PROMPT, _TOKENS = 512, 32
_TURNS = {"types": 5, "run": 3}


def command(
    what: Annotated[str, Argument(metavar="types|run", help="Every type, or a model as it runs.")],
    model: Annotated[Path | None, Argument(metavar="MODEL", help="run: a .gguf file, or a float checkpoint.")] = None,
    only: Annotated[
        list[str] | None,
        Option("--type", "-t", metavar="TYPE", help="types: this type alone; repeatable. Default: all."),
    ] = None,
    importance: Annotated[
        bool, Option("--importance", help="types: quantize with an importance for each column.")
    ] = False,
    prompt: Annotated[
        int | None, Option("--prompt", min=1, help=f"run: tokens of the prompt. Default {_PROMPT}.")
    ] = None,
    tokens: Annotated[
        int | None, Option("--tokens", "-n", min=1, help=f"run: tokens to generate. Default {_TOKENS}.")
    ] = None,
    threads: Annotated[
        int | None, Option("--threads", "-j", min=1, help="run: cores to compute on. Default: all.")
    ] = None,
    turns: Annotated[
        int | None, Option("--turns", min=1, help="Measurements of each; the median counts. Default: types 5, run 3.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure the speed of each type on one core, or of a model, beside llama.cpp where xllamacpp is installed."""
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
    _run(model, (prompt or _PROMPT, tokens or _TOKENS, turns, threads or processors()), json)


def _refuse(what: str, options: Mapping[str, object]) -> None:
    """UsageError for an option that belongs to the other thing to measure."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"bench {what} takes no {name}")


def _types(only: Sequence[str] | None, turns: int, importance: bool, json: bool) -> None:
    from quantize_cli import quants
    from quantize_cli.bench.types import measure
    from quantize_cli.pipeline.recipe import block_type

    chosen = [block_type(name, "--type") for name in only] if only else quants.supported()
    speeds = measure(chosen, turns, importance, report(quiet=json))
    if json:
        print_json({"types": [_row(speed) for speed in speeds]})
    else:
        _print(speeds)


def _row(speed: "TypeSpeed") -> dict[str, object]:
    return {
        "type": speed.type.name, "weights_per_second": speed.weights, "bytes_per_second": speed.nbytes,
        "copy_share": speed.copy_share, "dequantized_bytes_per_second": speed.dequantized_nbytes,
        "ggml_weights_per_second": speed.ggml_weights, "ratio": speed.ratio,
    }  # fmt: skip


def _print(speeds: "Sequence[TypeSpeed]") -> None:
    headings = ("type", "M weights/s", "GB/s", "of a copy", "dequantized GB/s", "ggml M weights/s", "ratio")
    rows = [
        (
            speed.type.name.lower(), f"{speed.weights / 1e6:.1f}", f"{speed.nbytes / 1e9:.2f}",
            f"{100 * speed.copy_share:.0f} %", f"{speed.dequantized_nbytes / 1e9:.2f}",
            "" if speed.ggml_weights is None else f"{speed.ggml_weights / 1e6:.1f}",
            "" if speed.ratio is None else f"{speed.ratio:.1f}",
        )
        for speed in speeds
    ]  # fmt: skip
    print_table(headings, rows, frozenset(headings[1:]))


def _run(model: Path, amounts: tuple[int, int, int, int], json: bool) -> None:
    """Measure a model with a prompt, tokens, turns and threads of these numbers."""
    from quantize_cli.bench.run import Request, measure
    from quantize_cli.cli.terminal.run_speed import document, print_speed

    request = Request(model, *amounts)
    with report(quiet=json).progress(request.turns, " turns", "bench") as advance:
        speed = measure(request, advance)
    if json:
        print_json(document(request, speed))
        return
    if speed.llama_missing is not None:
        note(f"llama.cpp is not measured: {speed.llama_missing}")
    print_speed(request, speed)
