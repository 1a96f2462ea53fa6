"""Help is there for every command, and at once: nothing heavy is imported before it is needed."""

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from quantize_cli import __version__, plugins
from quantize_cli.pipeline.job import Job
from tests.cli.console import MODEL, environment, quantize, succeeded

COMMANDS = plugins.names("cli")


def loaded_by(program: str, cwd: Path | None = None) -> set[str]:
    """The top-level modules that are there after a program has run."""
    ending = (
        "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + ending], capture_output=True, text=True, check=True, cwd=cwd, env=environment()
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*arguments: object) -> str:
    """A program that runs the console script with these arguments."""
    return f"""
import sys
sys.argv[1:] = {[str(argument) for argument in arguments]!r}
from quantize_cli.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def test_the_door_imports_nothing_heavy() -> None:
    heavy = {"numba", "llvmlite", "numpy", "tokenizers", "sentencepiece", "tqdm", "jinja2"}
    assert loaded_by("import quantize_cli.cli").isdisjoint(heavy)
    assert loaded_by(command("convert", "--help")).isdisjoint(heavy)
    assert loaded_by(command("--help")).isdisjoint(heavy)


@pytest.mark.parametrize("name", ["plan", "inspect"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_looking_compiles_nothing(name: str, options: tuple[str, ...]) -> None:
    assert loaded_by(command(name, MODEL, *options)).isdisjoint({"numba", "llvmlite", "jinja2"})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    said = succeeded(name, "--help")
    assert said == succeeded(name, "-h")
    assert said.startswith(f"Usage: quantize {name} ")
    assert "--json" in said
    options = [line.split("  ")[-1].strip() for line in said.splitlines() if line.startswith("  -")]
    assert all(options)


def test_help_lists_every_command_and_exit_code() -> None:
    said = succeeded("--help")
    assert [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()][
        : len(COMMANDS)
    ] == [*COMMANDS]
    assert "130 interrupted" in " ".join(said.split())


def test_no_arguments_are_a_call_for_help() -> None:
    assert succeeded() == succeeded("--help")


def test_the_version_is_the_packages() -> None:
    assert succeeded("--version") == f"quantize {__version__}\n"


def test_help_goes_to_stdout_and_nothing_to_stderr() -> None:
    assert quantize("--help").stderr == ""


def test_the_options_of_convert_and_plan_are_the_fields_of_a_job() -> None:
    own = {"convert": {"save_recipe", "force", "dry_run", "json"}, "plan": {"json"}}
    for name, names in own.items():
        parameters = inspect.signature(plugins.load("cli", name).command).parameters
        assert [parameter for parameter in parameters if parameter not in names] == [
            field.name for field in sorted(fields(Job), key=lambda field: list(parameters).index(field.name))
        ]
