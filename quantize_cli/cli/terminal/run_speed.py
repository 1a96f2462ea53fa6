"""How the speed of a model that runs is said: one document, or two tables."""

import sys
from typing import Any

from quantize_cli.bench.run import Rate, Request, RunSpeed
from quantize_cli.cli.terminal.text import print_table, size


def document(request: Request, found: RunSpeed) -> dict[str, Any]:
    """The measurement for a program to read; rates are per second."""
    return {
        "model": str(request.path), "threads": request.threads, "turns": request.turns, "nbytes": found.nbytes,
        "peak_nbytes": found.peak_nbytes, "prompt_operations_per_second": _operations(request, found),
        "weight_bytes_per_second": found.generation_nbytes, "read_bytes_per_second": found.read_nbytes.median,
        "copy_bytes_per_second": found.copied_nbytes.median, "read_share": found.read_share,
        "llama_missing": found.llama_missing,
        "speeds": [
            {
                "of": what, "tokens": count, **_spread("", ours),
                **_spread("llama_", llama), "ratio": None if llama is None else ours.median / llama.median,
            }
            for what, count, ours, llama in _speeds(request, found)
        ],
    }  # fmt: skip


def print_speed(request: Request, found: RunSpeed) -> None:
    """The measurement for a person."""
    headings = ("tokens", "tokens/s", "spread", "llama.cpp tokens/s", "spread", "ratio")
    done = {"prompt": "read", "generation": "generated"}
    rows = []
    for what, count, ours, llama in _speeds(request, found):
        row = [f"{count} {done[what]}", *_cells(ours)]
        if llama is not None:
            row += [*_cells(llama), f"{ours.median / llama.median:.2f}"]
        rows.append(row)
    print_table(headings[: len(rows[0])], rows, frozenset(headings[1:]))
    sys.stdout.write("\n")
    print_table(("model", str(request.path)), _facts(request, found))


def _facts(request: Request, found: RunSpeed) -> list[tuple[str, str]]:
    peak = "" if found.peak_nbytes is None else f"{size(found.peak_nbytes)} at most, "
    machine = f"reads {size(found.read_nbytes.median)}/s, copies {size(found.copied_nbytes.median)}/s (in and out)"
    reading = f"{size(found.generation_nbytes)}/s while generating, {100 * found.read_share:.0f} % of a plain reading"
    return [
        ("threads", str(request.threads)),
        ("computed", f"{_operations(request, found) / 1e9:.1f} GOPS while reading the prompt"),
        ("weights read", reading),
        ("this machine", machine),
        ("memory", f"{peak}the model has {size(found.nbytes)}"),
    ]


def _speeds(request: Request, found: RunSpeed) -> list[tuple[str, int, Rate, Rate | None]]:
    """What was done, with how many tokens, how fast by us and by llama.cpp."""
    llama = found.llama
    return [
        ("prompt", request.prompt, found.ours.prompt, None if llama is None else llama.prompt),
        ("generation", request.tokens, found.ours.generation, None if llama is None else llama.generation),
    ]


def _operations(request: Request, found: RunSpeed) -> float:
    """Multiplications and additions a second while the prompt is read."""
    return found.work.operations(request.prompt) * found.ours.prompt.median / request.prompt


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
