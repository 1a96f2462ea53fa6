"""quantize chat: a conversation."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.options import Json, ModelPath, Stops, takes_sampling
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import escape_controls, note, print_json
from quantize_cli.errors import InputError

if TYPE_CHECKING:
    from quantize_cli.conversation import Conversation
    from quantize_cli.runtime.sampler import Sampling


@takes_sampling(temperature=0.8)
def command(
    model: ModelPath,
    prompt: Annotated[
        str | None,
        Option("-p", "--prompt", help="Say this, print the reply, and end."),
    ] = None,
    system: Annotated[
        str | None,
        Option("--system", metavar="TEXT", help="What the model is told before the conversation."),
    ] = None,
    tokens: Annotated[
        int, Option("-n", "--tokens", min=0, help="At most so many tokens a reply; 0 for all that fit.")
    ] = 0,
    ctx: Annotated[
        int | None,
        Option("--ctx", min=0, help="Tokens a conversation may have; 0 for all the model was trained on."),
    ] = None,
    *,
    sampling: "Sampling",
    stop: Stops = None,
    json: Json = False,
) -> None:
    """Talk with MODEL: at a terminal, or a line at a time through a pipe."""
    from quantize_cli import api
    from quantize_cli.conversation import Conversation, chat_model

    loaded = api.load(model, report=report(quiet=True))
    conversation = Conversation(chat_model(loaded, sampling, ctx, stop or (), tokens), system)
    watched = prompt is None and sys.stdin.isatty()
    if watched and not json:
        _talk(conversation)
    else:
        lines = _typed() if watched else (line.rstrip("\r\n") for line in sys.stdin)
        _answer(conversation, lines if prompt is None else [prompt], quiet=json)
    if json:
        turns = [vars(turn) for turn in conversation.turns]
        print_json({"model": str(model), "system": system, "turns": turns})


def _answer(conversation: "Conversation", lines: Iterable[str], quiet: bool) -> None:
    """Answer each line, up to one that ends the conversation."""
    for line in lines:
        match line.strip():
            case "/exit":
                return
            case "/clear":
                conversation.clear()
            case message if message:
                _speak(conversation, line, quiet)


def _talk(conversation: "Conversation") -> None:
    """Answer what is typed; what goes wrong with one message does not end the conversation."""
    note("/clear forgets, /exit or Ctrl-D ends, Ctrl-C stops a reply")
    for line in _typed():
        try:
            _answer(conversation, [line], quiet=False)
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            note("stopped")
        except InputError as error:
            note(f"error: {error}")
            if error.hint:
                note(f"hint: {error.hint}")


def _typed() -> Iterator[str]:
    """Lines a person types, with the editing and history of readline where there is one, until Ctrl-D or /exit."""
    from importlib import import_module, util

    if util.find_spec("readline"):
        import_module("readline")
    while True:
        try:
            line = input("> ")
        except EOFError:
            sys.stdout.write("\n")
            return
        if line.strip() == "/exit":
            return
        yield line


def _speak(conversation: "Conversation", line: str, quiet: bool) -> None:
    """Say the reply as it comes."""
    with closing(conversation.reply(line)) as pieces:
        for piece in pieces:
            if not quiet:
                sys.stdout.write(escape_controls(piece))
                sys.stdout.flush()
    if not quiet:
        sys.stdout.write("\n")
    if conversation.full:
        note("the context is full; /clear begins anew")
