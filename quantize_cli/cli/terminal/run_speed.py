"""The speed of a running model as one document, or as two tables."""

import sys

from quantize_cli.bench.run import Rate, Request, RunSpeed
from quantize_cli.cli.terminal.text import print_table, size


def document(request: Request, speed: RunSpeed) -> dict[str, object]:
    """The measurement for a program to read; rates are per second."""
    return {
        "model": str(request.path), "threads": request.threads, "turns": request.turns, "nbytes": speed.nbytes,
        "peak_nbytes": speed.peak_nbytes, "prompt_operations_per_second": _operations(request, speed),
        "weight_bytes_per_second": speed.generation_nbytes, "read_bytes_per_second": speed.read_nbytes.median,
        "copy_bytes_per_second": speed.copied_nbytes.median, "read_share": speed.read_share,
        "llama_missing": speed.llama_missing,
        "speeds": [
            {
                "of": what, "tokens": count, **_spread("", ours),
                **_spread("llama_", llama), "ratio": None if llama is None else ours.median / llama.median,
            }
            for what, count, ours, llama in _speeds(request, speed)
        ],
    }  # fmt: skip


def print_speed(request: Request, speed: RunSpeed) -> None:
    """The measurement for a person."""
    headings = ("tokens", "tokens/s", "spread", "llama.cpp tokens/s", "spread", "ratio")
    done = {"prompt": "read", "generation": "generated"}
    rows = []
    for what, count, ours, llama in _speeds(request, speed):
        row = [f"{count} {done[what]}", *_cells(ours)]
        if llama is not None:
            row += [*_cells(llama), f"{ours.median / llama.median:.2f}"]
        rows.append(row)
    print_table(headings[: len(rows[0])], rows, frozenset(headings[1:]))
    sys.stdout.write("\n")
    print_table(("model", str(request.path)), _facts(request, speed))


def _facts(request: Request, speed: RunSpeed) -> list[tuple[str, str]]:
    peak = "" if speed.peak_nbytes is None else f"{size(speed.peak_nbytes)} at most, "
    machine = f"reads {size(speed.read_nbytes.median)}/s, copies {size(speed.copied_nbytes.median)}/s (in and out)"
    reading = f"{size(speed.generation_nbytes)}/s while generating, {100 * speed.read_share:.0f} % of a plain reading"
    return [
        ("threads", str(request.threads)),
        ("computed", f"{_operations(request, speed) / 1e9:.1f} GOPS while reading the prompt"),
        ("weights read", reading),
        ("this machine", machine),
        ("memory", f"{peak}the model has {size(speed.nbytes)}"),
    ]


def _speeds(request: Request, speed: RunSpeed) -> list[tuple[str, int, Rate, Rate | None]]:
    """What was done, with how many tokens, how fast by us and by llama.cpp."""
    llama = speed.llama
    return [
        ("prompt", request.prompt, speed.ours.prompt, None if llama is None else llama.prompt),
        ("generation", request.tokens, speed.ours.generation, None if llama is None else llama.generation),
    ]


def _operations(request: Request, speed: RunSpeed) -> float:
    """Multiplications and additions a second while the prompt is read."""
    return speed.work.operations(request.prompt) * speed.ours.prompt.median / request.prompt


def _spread(whose: str, rate: Rate | None) -> dict[str, float | None]:
    """The rate in tokens, its slowest and its fastest turn."""
    return {
        f"{whose}tokens_per_second": None if rate is None else rate.median,
        f"{whose}lowest": None if rate is None else rate.lowest,
        f"{whose}highest": None if rate is None else rate.highest,
    }


def _cells(rate: Rate) -> tuple[str, str]:
    """The rate, and the spread of its turns."""
    digits = 0 if rate.median >= 1000 else 1 if rate.median >= 10 else 2
    return f"{rate.median:.{digits}f}", f"{rate.lowest:.{digits}f} to {rate.highest:.{digits}f}"
