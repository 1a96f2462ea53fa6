"""quantize models: which models and which quantized weights are read, and what works with them."""

import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from quantize_cli.cli.terminal.options import Json
from quantize_cli.cli.terminal.text import print_json, print_table

if TYPE_CHECKING:
    from quantize_cli.coverage import Works


def command(json: Json = False) -> None:
    """List the families of models and the schemes of quantized weights that are read, and what works with them."""
    from quantize_cli import coverage

    families, schemes = coverage.families(), coverage.schemes()
    if json:
        print_json(
            {
                "families": [
                    {"model_type": f.name, "architecture": f.architecture, "class": f.class_name, **asdict(f.works)}
                    for f in families
                ],
                "schemes": [
                    {"scheme": s.name, "quant_methods": s.methods, "needs_config": s.needs_config, **asdict(s.works)}
                    for s in schemes
                ],
            }
        )
        return
    works = tuple(field.name for field in fields(coverage.Works))
    rows = [(f.name, f.architecture, f.class_name, *_cells(f.works)) for f in families]
    print_table(("model_type", "in the file", "class", *works), rows)
    sys.stdout.write("\n")
    named = [(s.name, ", ".join(s.methods), "config" if s.needs_config else "config or names") for s in schemes]
    cells = [(*row, *_cells(s.works)) for row, s in zip(named, schemes, strict=True)]
    print_table(("scheme", "quant_method", "told by", *works), cells)


def _cells(works: "Works") -> tuple[str, ...]:
    return tuple("yes" if value else "-" for value in asdict(works).values())
