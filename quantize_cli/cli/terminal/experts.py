"""How experts that a text never reached are shown."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from quantize_cli.cli.terminal.text import warn

_SHOWN = 8
"""Layers."""


def warn_of_unreached(unreached: Mapping[str, Sequence[int]]) -> None:
    """Warn of the experts, by tensor name, that the calibration text never reached."""
    by_layer: dict[str, set[int]] = {}
    for name, numbers in unreached.items():
        by_layer.setdefault(".".join(name.split(".")[:2]), set()).update(numbers)
    if not by_layer:
        return
    layers = [f"{ranges(sorted(numbers))} of {layer}" for layer, numbers in by_layer.items()]
    more = f" and those of {len(layers) - _SHOWN} more layers" if len(layers) > _SHOWN else ""
    warn(
        f"experts that the text never reached: {'; '.join(layers[:_SHOWN])}{more}; they are rounded without knowing "
        "what they are given, a longer or other text may reach them"
    )


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order with runs drawn together: 0-3, 7."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda it: it[1] - it[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
