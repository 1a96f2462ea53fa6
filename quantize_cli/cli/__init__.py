"""The door: the only place that prints, exits, or imports typer, rich or tqdm. One file per command.

A file of this folder is a command: its `command` function is what runs, its docstring the help. Nothing heavy is
imported until a command runs, so that help is there at once.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence

import typer

from quantize_cli import __version__, plugins

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_HELP = "Turn a Hugging Face checkpoint into a GGUF file that llama.cpp runs, inspect it, measure it, run it."
_TRACEBACK = "QUANTIZE_TRACEBACK"
_OF_TYPER: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2])
"""What a command raises for typer: to end, to give up, and click's error, of which typer may carry its own."""


def main() -> None:
    """The console script."""
    from quantize_cli.cli.terminal import ending, streams

    streams.prepare()
    try:
        ending.listen()
        command = typer.main.get_command(_application(_named_commands(sys.argv[1:2])))
        status = command.main(sys.argv[1:] or ["--help"], "quantize", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # every kind: none may become a traceback and exit code 1
        status = ending.status_of(error, wants_traceback=os.environ.get(_TRACEBACK, "0") not in ("", "0"))
    ending.report_uncached_kernels()
    sys.exit(status)


def _named_commands(first_argument: Sequence[str]) -> Sequence[str]:
    """The command that is asked for, as building all takes longer; all for help, a typing error or an option."""
    known = plugins.names("cli")
    return first_argument if set(first_argument) & set(known) else known


def _application(names: Sequence[str]) -> typer.Typer:
    application = typer.Typer(
        context_settings=_CONTEXT,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 bad input, 4 output not written, 70 a fault of "
        "ours, 129 hung up, 130 interrupted, 131 quit, 143 terminated.",
    )
    application.callback(help=_HELP)(_global_options)
    for name in names:
        application.command(name, context_settings=_CONTEXT)(_unchanged_errors(plugins.load("cli", name).command))
    return application


def _print_version(requested: bool) -> None:
    if requested:
        sys.stdout.write(f"quantize {__version__}\n")
        raise typer.Exit


def _global_options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
    traceback: bool = typer.Option(
        False, "--traceback", help=f"Show where a fault of ours is, as {_TRACEBACK}=1 in the environment does."
    ),
) -> None:
    """What holds for every command."""
    if traceback:
        os.environ[_TRACEBACK] = "1"


def _unchanged_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with every error passed to `main` as it is: typer would turn EOFError into Ctrl-C, and a broken
    pipe into exit code 1.
    """

    @functools.wraps(command)
    def run(*args: object, **kwargs: object) -> None:
        # Every command needs numpy. Python keeps its stack in pieces of 16 kB, and imported from deep within a command
        # numpy happens to stand at the end of a piece: thousands of calls each ask for the next one and return it.
        import numpy  # noqa: F401

        from quantize_cli.cli.terminal.ending import Raised

        try:
            command(*args, **kwargs)
        except _OF_TYPER:
            raise
        except BaseException as error:
            raise Raised(error) from error

    return run
