"""quantize check: all that is wrong with a model, before any heavy work."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from quantize_cli.cli.terminal.options import Json
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table, size, warn
from quantize_cli.errors import ExitCode

if TYPE_CHECKING:
    from quantize_cli.pipeline.check import Checked, Needs


def command(
    source: Annotated[Path, Argument(metavar="SRC", help="A checkpoint directory, a .safetensors or a .gguf file.")],
    type_: Annotated[str, Option("--type", "-t", metavar="TYPE", help="The mix or type of the file.")] = "q4_k_m",
    finite: Annotated[
        bool, Option("--finite", help="Read all numbers too, and name those that are not finite.")
    ] = False,
    json: Json = False,
) -> None:
    """List all that is wrong with SRC at once: shards, config, tensors, tokenizer, types, disk and memory."""
    from quantize_cli.pipeline.check import check

    checked = check(source, type_, finite, report(quiet=json))
    if json:
        print_json(_document(checked))
    else:
        _print(checked)
    if checked.problems:
        raise Exit(ExitCode.ANSWER_IS_NO)


def _document(checked: "Checked") -> dict[str, object]:
    needs = checked.needs
    return {
        "path": str(checked.path), "architecture": checked.architecture, "recipe": checked.recipe,
        "disk_nbytes": needs.disk, "disk_free_nbytes": needs.disk_free, "memory_nbytes": needs.memory,
        "machine_nbytes": needs.memory_of_machine,
        "problems": [
            {"of": problem.of, "message": problem.message, "hint": problem.hint, "refused": problem.is_refused}
            for problem in checked.problems
        ],
        "warnings": checked.warnings,
    }  # fmt: skip


def _print(checked: "Checked") -> None:
    for warning in checked.warnings:
        warn(warning)
    rows = [
        (problem.of, "refuses" if problem.is_refused else "goes on", problem.message, problem.hint or "")
        for problem in checked.problems
    ]
    if rows:
        print_table(("problem", "convert", "what", "hint"), rows)
        sys.stdout.write("\n")
    print_table(
        (str(checked.path), checked.recipe), [("architecture", checked.architecture or "-"), *_rows(checked.needs)]
    )
    sys.stdout.flush()  # before the verdict on stderr
    refused = sum(problem.is_refused for problem in checked.problems)
    verdict = (
        f"{len(rows)} {'problem' if len(rows) == 1 else 'problems'}, {refused} of which convert refuses"
        if rows
        else "nothing is wrong"
    )
    note(f"{checked.path}: {verdict}")


def _rows(needs: "Needs") -> list[tuple[str, str]]:
    rows = []
    if needs.disk is not None and needs.disk_free is not None:
        rows.append(("disk", f"{size(needs.disk)}; {size(needs.disk_free)} are free"))
    if needs.memory is not None:
        machine = "" if needs.memory_of_machine is None else f"; the machine has {size(needs.memory_of_machine)}"
        rows.append(("memory to run it", size(needs.memory) + machine))
    return rows
