"""The door: the only place that prints, exits, or imports typer, rich or tqdm. One file per command.

A file of this folder is a command: its `command` function is what runs, its docstring the help. Nothing heavy is
imported until a command runs, so that help is there at once.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from formats.errors import FormatError
from quantize_cli import __version__, plugins
from quantize_cli.errors import ExitCode, QuantizeError

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def main() -> None:
    """The console script."""
    _application()()


def _application() -> typer.Typer:
    application = typer.Typer(
        help="Turn a Hugging Face checkpoint into a GGUF file that llama.cpp runs, inspect it, measure it, run it.",
        context_settings=_CONTEXT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 bad input, 4 output not written, 130 interrupted.",
    )
    application.callback()(_version_option)
    for name in plugins.names("cli"):
        application.command(name, context_settings=_CONTEXT)(_translated(plugins.load("cli", name).command))
    return application


def _version_option(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    if version:
        sys.stdout.write(f"quantize {__version__}\n")
        raise typer.Exit


def _translated(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with every error we raise on purpose turned into one line, a hint and an exit code."""

    @functools.wraps(command)
    def translated(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except QuantizeError as error:
            _fail(str(error), error.hint, error.exit_code)
        except FormatError as error:
            _fail(str(error), error.hint, ExitCode.INPUT)
        except BrokenPipeError:  # whoever read our output has seen enough, as `| head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.DONE) from None
        except KeyboardInterrupt:
            _fail("interrupted", None, ExitCode.INTERRUPTED)

    return translated


def _fail(message: str, hint: str | None, code: ExitCode) -> None:
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    raise typer.Exit(code)
