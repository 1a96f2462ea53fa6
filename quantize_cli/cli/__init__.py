"""The door: the only place that prints, exits, or imports typer, rich or tqdm. One file per command.

A file of this folder is a command: its `command` function is what runs, its docstring the help. Nothing heavy is
imported until a command runs, so that help is there at once.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from formats.errors import FormatError
from quantize_cli import __version__, plugins
from quantize_cli.errors import ExitCode, QuantizeError

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_HELP = "Turn a Hugging Face checkpoint into a GGUF file that llama.cpp runs, inspect it, measure it, run it."
_BadUsage: Any = typer.BadParameter.__mro__[1]
"""click's UsageError, by way of typer, which may carry a click of its own."""


class _Terminated(BaseException):
    """The process was told to stop."""


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command = typer.main.get_command(_application())
        status = command.main(sys.argv[1:] or ["--help"], "quantize", standalone_mode=False)
    except _BadUsage as error:
        where = error.ctx.command_path if error.ctx else "quantize"
        status = _say(_sentence(error.format_message()), f"{where} --help", ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        status = _say("interrupted", None, ExitCode.INTERRUPTED)
    except _Terminated:
        status = _say("terminated", None, ExitCode.TERMINATED)
    sys.exit(status)


def _terminate(number: int, frame: object) -> None:
    """Leave as Ctrl-C does, so that unfinished files are removed; a second signal must not stop that."""
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated


def _application() -> typer.Typer:
    application = typer.Typer(
        context_settings=_CONTEXT,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 bad input, 4 output not written, 130 interrupted, "
        "143 terminated.",
    )
    application.callback(help=_HELP)(_version_option)
    for name in plugins.names("cli"):
        application.command(name, context_settings=_CONTEXT)(_translated(plugins.load("cli", name).command))
    return application


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"quantize {__version__}\n")
        raise typer.Exit


def _version_option(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    """Nothing is left to do for the option when a command is given."""


def _translated(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with every error we raise on purpose turned into one line, a hint and an exit code."""

    @functools.wraps(command)
    def translated(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except QuantizeError as error:
            code = _say(str(error), error.hint, error.exit_code)
        except FormatError as error:
            code = _say(str(error), error.hint, ExitCode.INPUT)
        except BrokenPipeError:  # whoever read our output has seen enough, as `| head` has
            code = _discard_output()
        except OSError as error:
            code = _refused(error)
        except KeyboardInterrupt:
            code = _say("interrupted", None, ExitCode.INTERRUPTED)
        except _Terminated:
            code = _say("terminated", None, ExitCode.TERMINATED)
        else:
            return
        raise typer.Exit(code)

    return translated


def _refused(error: OSError) -> int:
    """What the system refused: a path that cannot even be looked at, or our own output."""
    reason = (error.strerror or str(error)).lower()
    if error.filename is not None:
        return _say(f"{os.fsdecode(error.filename)}: {reason}", None, ExitCode.INPUT)
    _discard_output()
    return _say(f"standard output: {reason}", None, ExitCode.OUTPUT)


def _discard_output() -> int:
    """Let what is still to be printed go nowhere, or Python would complain at exit that it cannot be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


def _say(message: str, hint: str | None, code: int) -> int:
    from quantize_cli.cli._text import printable

    sys.stderr.write(f"error: {printable(message)}\n" + (f"hint: {printable(hint)}\n" if hint else ""))
    return code


def _sentence(message: str) -> str:
    """typer's words in our style: one line, lower case, no full stop."""
    line = " ".join(message.split()).removesuffix(".")
    return line[:1].lower() + line[1:]
