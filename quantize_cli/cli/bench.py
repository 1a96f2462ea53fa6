"""quantize bench: how fast this machine quantizes."""

from typing import Annotated, Any, Optional

import typer

from quantize_cli.cli._options import Json


def command(
    what: Annotated[str, typer.Argument(metavar="types", help="What to measure.")],
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--type", "-t", metavar="TYPE", help="Measure this type alone; repeatable. Default: all."),
    ] = None,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Measurements of each; the median counts.")] = 5,
    importance: Annotated[
        bool, typer.Option("--importance", help="Quantize with an importance for each column.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure the speed of each type on one core, beside ggml's own C where xllamacpp is installed."""
    from quantize_cli import quants
    from quantize_cli.bench.types import measure
    from quantize_cli.cli._progress import progress
    from quantize_cli.cli._text import print_json
    from quantize_cli.errors import UsageError
    from quantize_cli.recipe import block_type

    if what != "types":
        raise UsageError(f"bench {what!r}: nothing of that name to measure", hint="quantize bench types")
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
    from quantize_cli.cli._text import print_table

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
